# SPDX-License-Identifier: Apache-2.0
"""The client. It speaks to one bootstrap node at a time and goes on to the next when that one cannot be reached."""

import collections
import re
import threading
import time

import grpc

from agihpc import _messages as messages
from agihpc import errors
from agihpc._node import Node, with_port

Instance = collections.namedtuple("Instance", "address node_id zone rtt_ms load stale tls")
Instance.__doc__ = """One healthy instance. rtt_ms: None when not measured; load: 0 … 1; stale: last known good, the
registry could not be asked; tls: TLS is spoken there."""

_LEVELS = messages.levels()
_KINDS = ("tcp", "http", "grpc", "none")
_RAISED = {
    grpc.StatusCode.NOT_FOUND: errors.NotFound,
    grpc.StatusCode.INVALID_ARGUMENT: errors.InvalidArgument,
    grpc.StatusCode.OUT_OF_RANGE: errors.InvalidArgument,
    grpc.StatusCode.UNAUTHENTICATED: errors.Denied,
    grpc.StatusCode.PERMISSION_DENIED: errors.Denied,
    grpc.StatusCode.RESOURCE_EXHAUSTED: errors.Busy,
    grpc.StatusCode.UNAVAILABLE: errors.Unavailable,
    grpc.StatusCode.DEADLINE_EXCEEDED: errors.DeadlineExceeded,
    grpc.StatusCode.UNKNOWN: errors.OutcomeUnknown,
}
# Refusals after which nothing was begun: another node may be asked to write.
_NOT_BEGUN = ("NOT_READY", "NO_VIEW")


def _reason(error):
    """The node's name of an error ("NO_QUORUM: why"), "" when gRPC itself made it."""
    found = re.match(r"([A-Z][A-Z_]+)(:|$)", error.details() or "")
    return found.group(1) if found else ""


def _translated(error, node, writes):
    code, reason = error.code(), _reason(error)
    kind = _RAISED.get(code, errors.DHTError)
    if writes and (code == grpc.StatusCode.DEADLINE_EXCEEDED
                   or (code == grpc.StatusCode.UNAVAILABLE and not reason)):
        kind = errors.OutcomeUnknown
    return kind(f"{node.address}: {error.details() or code.name}", reason, node.address)


def _bytes(value, what):
    if isinstance(value, str):
        return value.encode()
    if isinstance(value, (bytes, bytearray, memoryview)):
        return bytes(value)
    raise TypeError(f"{what} must be str or bytes, not {type(value).__name__}")


def _milliseconds(seconds, what):
    if seconds is None:
        return 0
    ms = round(seconds * 1000)
    if ms < 1:
        raise ValueError(f"{what} must be at least 0.001 s, not {seconds!r}")
    return ms


def _level(name):
    if name is None:
        return _LEVELS["default"]
    if name not in _LEVELS:
        raise ValueError(f"level must be one of {', '.join(sorted(_LEVELS))}, not {name!r}")
    return _LEVELS[name]


def _read(path):
    with open(path, "rb") as f:
        return f.read()


def _instance(i):
    return Instance(i.address, i.node_id, i.zone, None if i.rtt_ms < 0 else i.rtt_ms, i.load, i.stale, i.tls)


class DHTClient:
    """A synchronous client of an AGI-HPC cluster; threads may share it.

        with DHTClient(bootstrap_nodes=["node1:5000", "node2:5000"]) as dht:
            dht.register_service("lh-planner", "10.0.0.5:50051")
            dht.discover("safety-gateway")     # ["10.0.0.10:50055", "10.0.0.11:50055"], nearest first
            dht.get_nearest("safety-gateway")  # "10.0.0.10:50055"

    bootstrap_nodes: addresses of nodes (port 5000 where none is given); name the node of your own host first.
    timeout: seconds for a whole call, whatever number of nodes it takes; connect_timeout: of these, for one node.
    token: sent with every call ("Bearer"); give it only together with TLS or on a network you trust.
    tls=True: TLS, with the system's authorities or those of ca_file; cert_file and key_file: the client's own
    certificate; server_name: what the nodes' certificates say, if that is not the address. A file named means TLS.
    """

    def __init__(self, bootstrap_nodes, *, timeout=5.0, connect_timeout=2.0, token=None, tls=False, ca_file=None,
                 cert_file=None, key_file=None, server_name=None):
        if isinstance(bootstrap_nodes, str):
            raise TypeError('bootstrap_nodes must be a list: ["node1:5000", …]')
        addresses = list(dict.fromkeys(with_port(a) for a in bootstrap_nodes))
        if not addresses:
            raise ValueError("bootstrap_nodes is empty: name at least one node")
        if timeout <= 0 or connect_timeout <= 0:
            raise ValueError("timeout and connect_timeout must be above 0 s")
        if bool(cert_file) != bool(key_file):
            raise ValueError("cert_file and key_file belong together")
        credentials = None
        if tls or ca_file or cert_file:
            credentials = grpc.ssl_channel_credentials(*(_read(p) if p else None
                                                         for p in (ca_file, key_file, cert_file)))
        self._timeout, self._connect_timeout = timeout, connect_timeout
        self._metadata = (("authorization", f"Bearer {token}"),) if token else ()
        self._lock = threading.Lock()
        self._nodes = [Node(a, credentials, server_name) for a in addresses]
        self._first = 0  # of _nodes: that answered last
        self._registered = {}  # (service, address): the node that advertises it
        self._closed = False

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    def close(self):
        """Ends the connections. Services stay registered: their node goes on checking them."""
        with self._lock:
            self._closed = True
        for node in self._nodes:
            node.close()

    # --- services ---
    def register_service(self, service, address, *, check="tcp", interval=None, check_timeout=None, path="",
                         tls=False):
        """Has a node advertise the service at "host:port" while its checks succeed, until deregister_service. Returns
        the id of that node, the first of the bootstrap nodes that can be reached; when that host dies, so does the
        registration. check: "tcp", "http" (path: what to GET), "grpc" (path: the service to ask about) or "none",
        every `interval` seconds (None: 5) with `check_timeout` seconds for an answer (None: 1)."""
        if check not in _KINDS:
            raise ValueError(f"check must be one of {', '.join(_KINDS)}, not {check!r}")
        health = messages.message("HealthCheck")(
            kind=check, interval_ms=_milliseconds(interval, "interval"), path=path, tls=tls,
            timeout_ms=_milliseconds(check_timeout, "check_timeout"))
        answer, node = self._ask("RegisterService", messages.message("RegisterRequest")(
            service=service, address=address, health_check=health), writes=True)
        with self._lock:
            self._registered[service, address] = node
        return answer.node_id

    def deregister_service(self, service, address):
        """Ends it, at the node that this client registered it with, else at the first bootstrap node that has it.
        NotFound when none has."""
        request = messages.message("DeregisterRequest")(service=service, address=address)
        with self._lock:
            known = self._registered.get((service, address))
        self._ask("DeregisterService", request, writes=False, only=known, seek=known is None)
        with self._lock:
            self._registered.pop((service, address), None)

    def discover(self, service, limit=0):
        """Addresses of the healthy instances, nearest first; [] when there is none. limit: at most so many, 0 = all."""
        return [i.address for i in self.instances(service, limit)]

    def instances(self, service, limit=0):
        """As discover, with everything that is known of each (Instance)."""
        request = messages.message("DiscoverRequest")(service=service, limit=limit)
        return [_instance(i) for i in self._ask("Discover", request)[0].instances]

    def get_nearest(self, service):
        """The address of the nearest healthy instance, by latency. NotFound when there is none."""
        return self._ask("Nearest", messages.message("NearestRequest")(service=service))[0].instance.address

    # --- memory ---
    def put(self, key, value, *, namespace="", level=None, ttl=None):
        """Writes; returns the item's version. level: "one", "quorum", "all", "strong" or None for the namespace's own;
        ttl: seconds after which it expires, None = never. str is written as UTF-8."""
        return self._ask("Put", messages.message("PutRequest")(
            namespace=namespace, key=_bytes(key, "key"), value=_bytes(value, "value"), level=_level(level),
            ttl_ms=_milliseconds(ttl, "ttl")), writes=True)[0].version

    def get(self, key, default=None, *, namespace="", level=None):
        """The value as bytes, or `default` when there is none. Read "strong" what was written "strong"."""
        try:
            return self._ask("Get", messages.message("GetRequest")(
                namespace=namespace, key=_bytes(key, "key"), level=_level(level)))[0].value
        except errors.NotFound:
            return default

    def delete(self, key, *, namespace="", level=None):
        """Deletes; it is no error when there is nothing."""
        self._ask("Delete", messages.message("DeleteRequest")(
            namespace=namespace, key=_bytes(key, "key"), level=_level(level)), writes=True)

    # --- asking ---
    def _in_turn(self, only):
        with self._lock:
            if self._closed:
                raise errors.DHTError("the client is closed")
            return [only] if only else self._nodes[self._first:] + self._nodes[:self._first]

    def _answered(self, node):
        with self._lock:
            self._first = self._nodes.index(node)

    def _ask(self, method, request, writes=False, only=None, seek=False):
        """The answer and who gave it. A read goes on to the next node whenever one is not available, a write only when
        it certainly was not begun; seek: also when this node does not know it."""
        deadline = time.monotonic() + self._timeout
        failed, absent = [], None
        for node in self._in_turn(only):
            left = deadline - time.monotonic()
            if left <= 0:
                break
            if not node.connect(min(left, self._connect_timeout)):
                failed.append(f"{node.address}: not reachable")
                continue
            try:
                answer = node.call(method, request, max(deadline - time.monotonic(), 0.001), self._metadata)
                self._answered(node)
                return answer, node
            except grpc.RpcError as e:
                error = _translated(e, node, writes)
                if seek and isinstance(error, errors.NotFound):
                    absent = error
                elif not isinstance(error, errors.Unavailable) or (writes and error.reason not in _NOT_BEGUN):
                    raise error from e
                failed.append(str(error))
        raise absent or errors.Unavailable(f"{method}: no bootstrap node could do it in {self._timeout:g} s: "
                                           + "; ".join(failed))
