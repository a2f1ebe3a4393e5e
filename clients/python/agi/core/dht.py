# SPDX-License-Identifier: Apache-2.0
"""The client under the name that the deployment guide imports. `agi` has no __init__.py: where the AGI-HPC project
itself is installed, its own package `agi` is found instead of this one."""

from agihpc import DHTClient

__all__ = ["DHTClient"]
