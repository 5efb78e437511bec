"""Runs that wait for themselves, through others or not, end at once: nothing else could ever end them."""

import itertools
import time

import pytest
from support.owner_harness import World, assigned, play

from taskyard_api.v1 import session_service_pb2 as sp
from taskyard_api.v1 import template_pb2 as tp
from taskyard_contract.id_factory import new_id, new_ids
from taskyard_contract.states import RunState, UpstreamKind
from taskyard_controlplane.domain.model import Run, Template
from taskyard_controlplane.owner.rules.upstream import _ahead_of

S = RunState


async def submit_at_once(it: World, upstream: dict[bytes, list[bytes]]) -> None:
    """Submit runs in one frame, in the order of the keys, each with its upstream runs."""
    client = it.client()
    ids = list(upstream)
    edges = [(position, each) for position, run_id in enumerate(ids) for each in upstream[run_id]]
    group = sp.RunGroup(
        template=1,
        run_ids=ids,
        upstream_positions=[position for position, _ in edges],
        upstream_ids=[each for _, each in edges],
        upstream_kinds=[UpstreamKind.DATA.value] * len(edges),  # type: ignore[list-item]
    )
    template = tp.RunTemplate(kind=1, name="task", queue="default", encoding="python/pickle5")  # type: ignore[arg-type]
    definition = tp.TemplateDefinition(index=1, template=template)
    await client.send(submit=sp.SubmitBatch(number=1, templates=[definition], groups=[group]))
    await it.settle()
    client.receive()
    it.last = client  # type: ignore[attr-defined]


@pytest.mark.parametrize("length", [1, 2, 3, 7])
def test_runs_in_a_circle_end_not_ready_and_say_why(length: int) -> None:
    async def scenario(it: World) -> None:
        ids = new_ids(length)
        outside, behind = new_id(), new_id()
        circle = {run_id: [ids[(place + 1) % length]] for place, run_id in enumerate(ids)}
        await submit_at_once(it, circle | {behind: [ids[0]], outside: []})
        client = it.last  # type: ignore[attr-defined]
        assert {client.state_of(run_id) for run_id in [*ids, behind]} == {S.NOT_READY}
        texts = [client.outcomes[run_id].message for run_id in ids]
        assert any("waits for this one itself" in text for text in texts)
        agent = it.agent()
        assert await assigned(it, agent) == [outside]
        agent.report([outside])
        await it.settle()
        assert it.owner.open_count() == 0

    play(scenario)


@pytest.mark.parametrize(("length", "in_memory"), [(1, 1), (2, 1), (3, 1), (7, 1), (3, 2), (3, 3), (3, 4)])
def test_parked_runs_in_a_circle_end_not_ready_and_say_why(length: int, in_memory: int) -> None:
    async def scenario(it: World) -> None:
        ids = new_ids(length)
        outside, behind, apart = new_ids(3)
        circle = {run_id: [ids[(place + 1) % length], outside] for place, run_id in enumerate(ids)}
        await submit_at_once(it, {outside: [], **circle, behind: [ids[0]], apart: [outside]})
        client = it.last  # type: ignore[attr-defined]
        for _ in range(length + 2):
            await it.advance(1)
        assert {client.state_of(run_id) for run_id in [*ids, behind]} == {S.NOT_READY}
        texts = [client.outcomes[run_id].message for run_id in ids]
        assert any("waits for this one itself" in text for text in texts)
        agent = it.agent()
        for run_id in (outside, apart):
            assert await assigned(it, agent) == [run_id]
            agent.report([run_id])
            await it.advance(1)
        assert not any(it.shard.kept().values())

    play(scenario, most_open=in_memory)


def test_parked_runs_that_wait_for_later_ones_without_a_circle_wait_for_them() -> None:
    async def scenario(it: World) -> None:
        last, middle, first, begin = new_ids(4)
        await submit_at_once(it, {last: [middle, first], middle: [first], first: [begin], begin: []})
        agent = it.agent()
        for run_id in (begin, first, middle, last):
            assert await assigned(it, agent) == [run_id]
            agent.report([run_id])
            await it.advance(1)
        assert not any(it.shard.kept().values())

    play(scenario, most_open=0)


def test_runs_that_were_submitted_before_those_they_wait_for_wait_for_them() -> None:
    async def scenario(it: World) -> None:
        last, middle, first = new_ids(3)
        await submit_at_once(it, {last: [middle, first], middle: [first], first: []})
        agent = it.agent()
        for run_id in (first, middle, last):
            assert await assigned(it, agent) == [run_id]
            agent.report([run_id])
        await it.settle()
        assert it.owner.open_count() == 0

    play(scenario)


def runs(count: int) -> list[Run]:
    template = Template(1, b"", b"", name="t")
    return [Run(n, n.to_bytes(16, "big"), template, S.PENDING, None, None, None, 0, 0) for n in range(count)]


def test_each_run_in_between_is_looked_at_once() -> None:
    """A ladder has more ways through it than could be walked."""
    ladder = runs(2_000)
    for place in range(0, len(ladder) - 2, 2):
        for one in ladder[place : place + 2]:
            one.downstream = [other for each in ladder[place + 2 : place + 4] for other in (each, 1)]
    began = time.process_time()
    assert _ahead_of(ladder[-1], ladder[:-2]) == {ladder[-1], *ladder[:-2]}
    assert time.process_time() - began < 2.0


def test_those_ahead_are_found_whatever_the_order() -> None:
    made = runs(5)
    edges = {0: [1, 2], 1: [3], 2: [4], 3: []}
    for place, others in edges.items():
        made[place].downstream = [each for other in others for each in (made[other], 1)]
    for order in itertools.permutations(made[:4]):
        assert _ahead_of(made[4], order) == {made[4], made[0], made[2]}
