"""What a worker needs as soon as its code calls tasks, imported once for all that are forked afterwards.

A run that waits for runs of its own keeps its process, and most of what such a process has to itself would be
its own copy of these modules: 8 MB of 19, and most of the time until its first call is under way.
"""

import os
from importlib import import_module
from typing import Final

_MODULES: Final = (
    "taskyard.tasks",
    "taskyard.flows",
    "taskyard._engine.submission.deferred",
    "taskyard._engine.submission.mapping",
    "taskyard._network.session.sessions",
    "taskyard._network.session.stream",
    "taskyard_contract.transport.repeating",
    "taskyard_api.v1.run_service_pb2_grpc",
    "taskyard_api.v1.blob_service_pb2_grpc",
    "grpc.aio",
    "cloudpickle",
)


def preload() -> None:
    """Import all of it and start none of it: gRPC's threads come with the first channel, as does the loop."""
    # As before every other import of gRPC by the SDK; see `LoopThread`.
    os.environ.setdefault("GRPC_ENABLE_FORK_SUPPORT", "false")
    for name in _MODULES:
        import_module(name)
    try:
        import_module("uvloop")
    except ImportError:
        import_module("asyncio")
