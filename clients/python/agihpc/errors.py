# SPDX-License-Identifier: Apache-2.0
"""What a call can raise. `reason` is the node's own name of the error (src/base/err.def: "NO_QUORUM", …), or "" when
no node answered; `node` is the address that was asked last."""


class DHTError(Exception):
    """Everything below; and itself, for what a node refuses for another reason."""

    def __init__(self, text, reason="", node=""):
        super().__init__(text)
        self.reason, self.node = reason, node


class NotFound(DHTError, LookupError):
    """There is no healthy instance of the service, or no such registration."""


class InvalidArgument(DHTError, ValueError):
    """A name, address, key or value that no node takes; the text says why."""


class Denied(DHTError, PermissionError):
    """The node asks for a token or certificate that was not given, or that has not the right."""


class Busy(DHTError):
    """Refused early because the node has too much to do (or no memory, no disk space). Try again later."""


class Unavailable(DHTError, ConnectionError):
    """No bootstrap node could do it now: not reachable, not yet in a cluster, too few replicas. A write was not
    acknowledged; one refused as NO_QUORUM may have reached a minority all the same."""


class DeadlineExceeded(DHTError, TimeoutError):
    """Nobody answered in time. Raised for reads; a write raises OutcomeUnknown."""


class OutcomeUnknown(DHTError):
    """The connection or the deadline ended while a write was under way: it may or may not have happened. It is not sent
    again by itself; read to find out."""
