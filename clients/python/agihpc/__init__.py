# SPDX-License-Identifier: Apache-2.0
"""Service discovery and replicated memory of an AGI-HPC cluster, for Python programs. See DHTClient."""

from agihpc.client import DHTClient, Instance
from agihpc.errors import (Busy, DeadlineExceeded, Denied, DHTError, InvalidArgument, NotFound, OutcomeUnknown,
                           Unavailable)

__all__ = ["Busy", "DHTClient", "DHTError", "DeadlineExceeded", "Denied", "Instance", "InvalidArgument", "NotFound",
           "OutcomeUnknown", "Unavailable"]
