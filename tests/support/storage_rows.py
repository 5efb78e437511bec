"""Rows to write in storage tests."""

from collections.abc import Iterable
from typing import Any

from taskyard_api.v1.template_pb2 import RunTemplate
from taskyard_contract.states import RunKind, RunState
from taskyard_controlplane.storage.interface import (
    EndedRow,
    EventRow,
    NewRunRow,
    Reader,
    RunFilter,
    Store,
    WriteBatch,
)

TEMPLATE_ID = 1
NOW_US = 1_700_000_000_000_000


def run_id(number: int) -> bytes:
    return number.to_bytes(16, "big")


def new_run(seq: int, **changes: Any) -> NewRunRow:
    row = NewRunRow(
        seq=seq,
        run_id=run_id(seq),
        kind=RunKind.TASK,
        state=RunState.PENDING,
        flow_seq=None,
        caller_id=None,
        session_id=b"s" * 16,
        template_id=TEMPLATE_ID,
        ordinal=seq,
        name=None,
        args=b"args",
        args_blob=None,
        cache_key=None,
        upstream=None,
        submitted_us=NOW_US + seq,
        headers=None,
    )
    return row._replace(**changes)


def ended(seq: int, **changes: Any) -> EndedRow:
    row = EndedRow(
        state=RunState.COMPLETED,
        reason=0,
        attempt=1,
        infra_retries=0,
        epoch=(1 << 32) | seq,
        started_us=NOW_US + 10,
        ended_us=NOW_US + 20,
        result=b"result",
        outcome=None,
        agent_number=None,
        seq=seq,
    )
    return row._replace(**changes)


def event(seq: int, **changes: Any) -> EventRow:
    row = EventRow(
        run_seq=seq,
        at_us=NOW_US,
        state=RunState.AWAITING_RETRY,
        reason=0,
        attempt=1,
        infra_retries=0,
        epoch=5,
        due_us=None,
        state_name=None,
        message=None,
    )
    return row._replace(**changes)


def template(template_id: int = TEMPLATE_ID, name: str = "add") -> tuple[int, bytes, bytes, str]:
    return template_id, b"digest of " + name.encode(), RunTemplate(name=name).SerializeToString(), name


class Batches:
    """Numbers the batches of one generation."""

    def __init__(self) -> None:
        self._number = 0

    def __call__(self, **parts: Any) -> WriteBatch:
        self._number += 1
        batch = WriteBatch(self._number)
        batch.now_us = NOW_US
        for name, value in parts.items():
            setattr(batch, name, value)
        return batch


BAD_ENDS = tuple(state for state in RunState if state > RunState.COMPLETED)


def bad_ends(reader: Reader, page: int = 7) -> dict[RunState, list[int]]:
    """Return the numbers of the runs in each state that runs end badly in, as listings page through them."""
    found: dict[RunState, list[int]] = {}
    for state in BAD_ENDS:
        seqs, before = found.setdefault(state, []), None
        while True:
            runs, before, _, _ = reader.runs(RunFilter(states=(state,)), before, page)
            seqs += [listed.run.seq for listed in runs]
            if before is None:
                break
    return found


def bad_ends_of(runs: Iterable[tuple[int, int]]) -> dict[RunState, list[int]]:
    """Return what `bad_ends` has to say of runs, given their numbers and states."""
    states = sorted(runs, reverse=True)
    return {bad: [seq for seq, state in states if state == bad] for bad in BAD_ENDS}


def stored(store: Store, *numbers: int) -> list[Any]:
    """Return runs by the number in their id, None for those that do not exist."""
    found = {row.run_id: row for row in store.runs_by_id([run_id(number) for number in numbers])}
    return [found.get(run_id(number)) for number in numbers]
