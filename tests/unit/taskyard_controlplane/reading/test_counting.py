"""Runs are counted by state: ended ones as far as a listing looks, open ones further, but not for ever."""

import asyncio
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from typing import Any

import pytest
from support.databases import Database
from support.storage_rows import NOW_US, Batches, ended, new_run, run_id, template

from taskyard_api.v1 import run_service_pb2 as pb
from taskyard_contract.states import RunKind, RunState
from taskyard_controlplane.domain.live_state import LiveState
from taskyard_controlplane.reading import counting
from taskyard_controlplane.reading.background import Background
from taskyard_controlplane.reading.counting import Counts, RunCounter
from taskyard_controlplane.reading.runs import RunReader

S = RunState
RUNS = 60
RUNNING = (1, 40, 59, 60)
FLOW = 50
"""With all later runs inside it."""


@pytest.fixture
def reads() -> Iterator[tuple[RunReader, RunCounter]]:
    """Readers of a database with runs of which few are open."""
    with closing(Database("sqlite://?name=counting")) as database, ThreadPoolExecutor(1) as threads:
        store, reader = database.store(), database.reader()
        store.open()
        new = [_new(seq) for seq in range(1, RUNS + 1)]
        ends = [ended(seq) for seq in range(1, RUNS + 1) if seq not in RUNNING]
        store.commit(Batches()(templates=[template()], new_runs=new, ended=ends))
        background = Background(threads)
        reading = RunReader(reader, background, _live)
        yield reading, RunCounter(reader, background, reading, _live)


def _new(seq: int) -> Any:
    if seq == FLOW:
        return new_run(seq, kind=RunKind.FLOW)
    return new_run(seq, flow_seq=FLOW if seq > FLOW else None)


def _live(_: bytes) -> LiveState:
    return LiveState(S.RUNNING, 0, 1, 0, NOW_US, "agent")


def count(counter: RunCounter, **wanted: Any) -> Counts:
    return asyncio.run(counter.count(pb.RunFilter(**wanted)))


@pytest.mark.parametrize("part", [1, 2, 100])
def test_all_are_counted_in_parts_of_any_size(
    reads: tuple[RunReader, RunCounter], monkeypatch: pytest.MonkeyPatch, part: int
) -> None:
    monkeypatch.setattr(counting, "PART", part)
    _, counter = reads
    assert count(counter) == ({S.COMPLETED: RUNS - 4, S.RUNNING: 4}, 0)
    assert count(counter, states=[S.READY]) == ({}, 0)


def test_open_runs_are_not_looked_for_for_ever_and_it_is_said_how_far(
    reads: tuple[RunReader, RunCounter], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(counting, "MOST_FOR_OPEN", 30)
    monkeypatch.setattr(counting, "MOST_LOOKED_AT", 10)
    _, counter = reads
    assert count(counter, states=[S.RUNNING]) == ({S.RUNNING: 3}, NOW_US + RUNS - 29)
    assert count(counter) == ({S.COMPLETED: RUNS - 4, S.RUNNING: 3}, NOW_US + RUNS - 29)


def test_what_is_full_of_open_runs_is_counted_to_its_end(
    reads: tuple[RunReader, RunCounter], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(counting, "PART", 1)
    monkeypatch.setattr(counting, "MOST_FOR_OPEN", 60)
    _, counter = reads
    assert count(counter, states=[S.RUNNING]) == ({S.RUNNING: 4}, 0)


def test_a_flow_run_is_not_over_while_anything_inside_it_is_open(
    reads: tuple[RunReader, RunCounter],
) -> None:
    reading, _ = reads
    assert not asyncio.run(reading.is_over(run_id(FLOW)))
    assert not asyncio.run(reading.is_over(run_id(40)))
    assert asyncio.run(reading.is_over(run_id(41)))
