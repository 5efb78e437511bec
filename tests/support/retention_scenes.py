"""What tests of retention have in common: payloads that name blobs, runs that end, people who prune."""

from collections.abc import Callable
from typing import Any

from support.memory_blobs import MemoryBlobs
from support.owner_harness import Agent, Client, World, assigned, play

from taskyard_api.v1 import common_pb2
from taskyard_contract.blobs.names import result_name
from taskyard_contract.states import ReportKind
from taskyard_controlplane.owner.retention.policy import Policy
from taskyard_controlplane.owner.retention.runs import Removed

NOW = Policy(runs_us=0, logs_us=0)
"""Whatever is over may go."""
B3 = "b3-" + "0" * 64
GRACE = 61.0
A_DAY = 90_000.0


def with_blobs(scenario: Callable[[World, MemoryBlobs], Any], **options: Any) -> None:
    """Play something beside a store of blobs in memory."""
    blobs = MemoryBlobs()

    async def played(it: World) -> None:
        blobs.now_us = it.clock.now_us
        await scenario(it, blobs)

    play(played, blob_bytes=blobs, **options)


def value(name: str, size: int = 100_000) -> common_pb2.Payload:
    return common_pb2.Payload(
        encoding="python/pickle5", blob=common_pb2.BlobRef(name=name, size=size, checksum=2**64 - 1)
    )


def named(*names: str) -> common_pb2.Payload:
    """Arguments that refer to blobs."""
    values = [common_pb2.BlobRef(name=name, size=5) for name in names]
    return common_pb2.Payload(data=b"args", encoding="python/pickle5", values=values)


async def prune(it: World, policy: Policy = NOW) -> Removed:
    await it.settle()
    return [removed async for removed in it.owner.retention.prune(policy)][-1]


async def refs(it: World) -> int:
    retention = it.owner.retention
    return sum(part.blobs for part in await retention.blobs.kept_bytes(retention._pace.pause) if part.kind)


async def ended(it: World, agent: Agent, run_ids: list[bytes], **report: Any) -> list[str]:
    """Let runs end; returns the names of their results, which are blobs unless `report` says otherwise."""
    await assigned(it, agent)
    names = [result_name(run_id, agent.assigned[run_id]) for run_id in run_ids]
    for run_id, name in zip(run_ids, names, strict=True):
        agent.report([run_id], **(report or {"kind": ReportKind.SUCCEEDED.value, "result": value(name)}))
    await it.settle()
    return names


async def gone(it: World, client: Client) -> None:
    """Let a session end for good."""
    await client.send(goodbye=True)
    await it.settle()
