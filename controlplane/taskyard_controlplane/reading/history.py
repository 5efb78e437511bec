"""The state history of a run, put together from what is durable.

Two rows a run are written on the happy path, so its history is derived: submission, the recorded exceptions
(each with the start of the attempt it ended), the start of the last attempt and the end. Pure.

Invariant: entries are in order of time.
"""

from collections.abc import Sequence
from typing import NamedTuple

from taskyard_contract.states import FIRST_FINAL, RunState
from taskyard_controlplane.domain.live_state import LiveState
from taskyard_controlplane.storage.interface import EventRow, StoredRun


class HistoryEntry(NamedTuple):
    """One state a run has been in."""

    state: int
    at_us: int
    attempt: int
    reason: int = 0
    state_name: str = ""
    message: str = ""


def history_of(
    run: StoredRun,
    events: Sequence[EventRow],
    live: LiveState | None = None,
    final_name: str = "",
    final_message: str = "",
) -> list[HistoryEntry]:
    """Return every state a run has been in, oldest first.

    The owner passes through READY, ASSIGNED and AWAITING_CACHE without recording when; they are left out,
    except where a lost attempt was queued again.

    Args:
        run: The record.
        events: Its events in the order they were written.
        live: The owner's view, while the run is open.
        final_name: Name of the final state, when user code chose one.
        final_message: Message of the final state.
    """
    entries = [HistoryEntry(RunState.PENDING, run.submitted_us, 1), *map(_entry_of, events)]
    known = run if live is None else live
    if known.started_us:
        running = HistoryEntry(RunState.RUNNING, known.started_us, known.attempt)
        entries.insert(_before_cancelling(entries), running)
    if run.state >= FIRST_FINAL:
        end = HistoryEntry(run.state, run.ended_us or 0, run.attempt, run.reason, final_name, final_message)
        entries.append(end)
    return _in_order(entries)


def _entry_of(event: EventRow) -> HistoryEntry:
    return HistoryEntry(
        event.state, event.at_us, event.attempt, event.reason, event.state_name or "", event.message or ""
    )


def _before_cancelling(entries: list[HistoryEntry]) -> int:
    """Return where the last attempt's start belongs: a cancellation may have come after it."""
    position = len(entries)
    while entries[position - 1].state == RunState.CANCELLING:
        position -= 1
    return position


def _in_order(entries: list[HistoryEntry]) -> list[HistoryEntry]:
    """Agents report starts by their own clocks; the order of the states is known, so it wins."""
    latest = 0
    ordered = []
    for entry in entries:
        latest = max(latest, entry.at_us)
        ordered.append(entry._replace(at_us=latest))
    return ordered
