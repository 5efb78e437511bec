"""Rows that hot loops make in place are those that everything else makes."""

from typing import Any

import pytest
from support.owner_harness import World, assigned, play

from taskyard_contract.id_factory import new_id
from taskyard_contract.states import RunState
from taskyard_controlplane.domain.model import Run
from taskyard_controlplane.owner.journal.rows import ended_row, new_row


def watch(it: World, name: str, patched: pytest.MonkeyPatch) -> list[tuple[object, ...]]:
    """Return a list that will hold the rows of one kind, as they are written from now on."""
    rows: list[tuple[object, ...]] = []
    commit = it.store.commit

    def watched(batch: Any) -> Any:
        rows.extend(getattr(batch, name))
        return commit(batch)

    patched.setattr(it.store, "commit", watched)
    return rows


def by_seq(runs: list[Run]) -> list[Run]:
    return sorted(runs, key=lambda run: run.seq)


@pytest.mark.parametrize("inside", [False, True])
@pytest.mark.parametrize("args", [[b"one", b"two"], []])
def test_a_group_of_plain_runs_is_recorded_as_its_runs_are(
    monkeypatch: pytest.MonkeyPatch, inside: bool, args: list[bytes]
) -> None:
    async def scenario(it: World) -> None:
        client = it.client()
        flow = await client.start_flow() if inside else b""
        rows = watch(it, "new_runs", monkeypatch)
        ids = await client.submit(2, flow=flow, args=args)
        runs = by_seq([it.runs[run_id] for run_id in ids])
        assert [(run.args, run.ordinal) for run in runs] == list(
            zip(args or [None] * 2, range(2), strict=True)
        )
        await it.settle()
        assert rows == [new_row(run) for run in runs]

    play(scenario)


def test_a_plain_run_is_recorded_as_one_that_comes_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    """Both paths, with the same run: all that differs is its number and its id."""

    async def scenario(it: World) -> None:
        client = it.client()
        rows = watch(it, "new_runs", monkeypatch)
        ids = await client.submit(name="same")
        await it.settle()
        await client.submit(run_ids=[new_id(), *ids], name="same")  # one of them is known
        await it.settle()
        plain, careful = rows
        assert plain[2:] == careful[2:]

    play(scenario)


def test_an_ordinary_end_is_recorded_as_any_other(monkeypatch: pytest.MonkeyPatch) -> None:
    async def scenario(it: World) -> None:
        client, agent = it.client(), it.agent()
        ids = await client.submit(2)
        assert await assigned(it, agent) == ids
        runs = by_seq([it.runs[run_id] for run_id in ids])
        rows = watch(it, "ended", monkeypatch)
        agent.report(ids)
        await it.settle()
        assert all(run.state == RunState.COMPLETED for run in runs)
        assert rows == [ended_row(run) for run in runs]

    play(scenario)
