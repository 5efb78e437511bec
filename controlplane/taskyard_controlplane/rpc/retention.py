"""What AdminService does about what is over: prunes, and tells what takes the room."""

import asyncio
from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing, suppress
from typing import Final

from taskyard_api.v1 import admin_service_pb2 as pb
from taskyard_contract.errors import InvalidRequest, TaskyardError
from taskyard_contract.states import FIRST_FINAL, RunState
from taskyard_controlplane.owner.retention.policy import FOR_EVER, Policy
from taskyard_controlplane.owner.retention.retention import Retention
from taskyard_controlplane.owner.retention.runs import Removed
from taskyard_controlplane.storage.interface import BlobRefKind

_STATES: Final = frozenset(int(state) for state in RunState if state >= FIRST_FINAL)
_LONGEST_MS: Final = FOR_EVER // 1000
_USES: Final = {
    0: pb.BLOB_USE_LEAVING,
    int(BlobRefKind.ARGUMENTS): pb.BLOB_USE_ARGUMENTS,
    int(BlobRefKind.RESULT): pb.BLOB_USE_RESULTS,
    int(BlobRefKind.CACHE_ENTRY): pb.BLOB_USE_CACHE,
    int(BlobRefKind.TEMPLATE): pb.BLOB_USE_CODE,
}


async def prune(retention: Retention, request: pb.PruneRequest) -> AsyncGenerator[pb.PruneResponse, None]:
    """Remove what is asked for, and tell how far it has come.

    Raises:
        InvalidRequest: A state is not one in which runs end.
        Overloaded: Something is being removed at the moment.
    """
    policy = _policy(retention.policy, request)
    if request.dry_run:
        yield _message(await retention.expected(policy), done=True)
        return
    removed = Removed()
    async with aclosing(retention.prune(policy)) as steps:
        async for removed in steps:
            yield _message(removed)
    blobs = retention.blobs
    yield _message(removed, done=True, waiting_blobs=blobs.waiting, free_in_ms=-(-blobs.free_in_us // 1000))


async def storage(retention: Retention) -> pb.GetStorageResponse:
    """Tell what takes the room."""
    used, free, kept = await retention.kept_bytes()
    data, policy = retention.blobs.data, retention.policy
    room = None
    if data is not None:
        with suppress(TaskyardError):  # a store that does not answer is no reason to tell nothing
            room = await asyncio.to_thread(data.free_bytes)
    return pb.GetStorageResponse(
        database_bytes=used,
        database_free_bytes=free,
        blobs=[pb.BlobUsage(use=_USES[part.kind], blobs=part.blobs, size=part.size) for part in kept],
        blob_store=data.url if data is not None else "",
        blob_store_free_bytes=room,
        limit_bytes=policy.home_bytes,
        keep_runs_ms=_time(policy.runs_us),
        keep_logs_ms=_time(policy.logs_us),
        log_bytes=await retention.logs.size(),
    )


def _policy(policy: Policy, request: pb.PruneRequest) -> Policy:
    states = _states(request.states)
    if not request.HasField("older_than_ms"):
        return policy.pruning(None, states)
    return policy.pruning(min(request.older_than_ms, _LONGEST_MS) * 1000, states)


def _states(states: Sequence[int]) -> frozenset[int]:
    asked = frozenset(map(int, states))
    wrong = sorted(asked - _STATES)
    if wrong:
        raise InvalidRequest(f"states has {wrong[0]}, in which no run ends", field="states")
    return asked


def _message(removed: Removed, **more: int) -> pb.PruneResponse:
    return pb.PruneResponse(
        runs=removed.runs,
        logs=removed.logs,
        events=removed.events,
        cache_entries=removed.cache_entries,
        blobs=removed.blobs,
        blob_bytes=removed.blob_bytes,
        log_bytes=removed.log_bytes,
        **more,  # type: ignore[arg-type]  # a bool is an int
    )


def _time(time_us: int) -> int | None:
    return None if time_us >= FOR_EVER else time_us // 1000
