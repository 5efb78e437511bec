"""Runs as people read them."""

import sys
from collections.abc import Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Final

from taskyard._data.values.shown_parameters import shown_parameters
from taskyard.cli.views.columns import Column
from taskyard.cli.views.documents import count_document, name_in, shown_state, state_of
from taskyard.cli.views.output import (
    NAMES,
    STATE_STYLES,
    clock_time,
    duration,
    id_cells,
    moment_cell,
    on_terminal,
    print_heading,
    print_json,
    print_pairs,
    print_table,
)
from taskyard.cli.views.waits import print_waits
from taskyard_contract.errors import RunNotFound
from taskyard_contract.ids import format_id
from taskyard_contract.states import FIRST_FINAL, RunKind, UpstreamKind

if TYPE_CHECKING:
    from taskyard._network.server.calls import Client
    from taskyard_api.v1.failure_pb2 import Failure
    from taskyard_api.v1.run_service_pb2 import CountRunsResponse, Run, RunStateEntry, Upstream, Wait

SHOWN_UPSTREAM: Final = 20
"""Each costs a call, and a run that gathers a map may have thousands."""


def print_runs(runs: "Sequence[Run]") -> None:
    """Print a line for each run, with its state coloured."""
    if not runs:
        print("no runs")
        return
    shown = id_cells([run.run_id for run in runs])
    rows = [
        (
            run.name,
            name_in(RunKind, run.kind).lower(),
            state_of(run)[1],
            moment_cell(run.submitted_us),
            duration(run.started_us, run.ended_us),
            shown[run.run_id],
        )
        for run in runs
    ]
    columns = (NAMES, Column("KIND", rank=2), "STATE", Column("SUBMITTED", rank=1), Column("TOOK", rank=3))
    print_table((*columns, Column("ID")), rows, _styles(runs))


def print_counts(counts: "CountRunsResponse", *, as_json: bool) -> None:
    """Print how many runs are in each state, and on standard error how far back that was looked for."""
    if as_json:
        print_json(count_document(counts))
        return
    rows = [(shown_state(count.state), str(count.runs)) for count in counts.counts]
    print_table(("STATE", "RUNS"), [*rows, ("total", str(sum(count.runs for count in counts.counts)))])
    if counts.searched_to_us:
        since = clock_time(counts.searched_to_us)[:-4]
        print(f"taskyard: counted the runs since {since}, and older ones only if open", file=sys.stderr)


def wait_for(api: "Client", run: "Run") -> None:
    """Return when a run has ended; say on standard error in which states it is meanwhile."""
    from taskyard_api.v1.run_service_pb2 import RunFilter

    told = ""
    for message in api.watch_runs(RunFilter(run_ids=[run.run_id])):
        for now in message.runs:
            state = state_of(now)[1]
            if state != told:
                print(f"taskyard: {now.name} is {state}", file=sys.stderr, flush=True)
                told = state
            if now.state >= FIRST_FINAL:
                return
        if message.caught_up and not told:
            raise RunNotFound(f"there is no run {format_id(run.run_id)} any more", run_id=run.run_id)


def print_run(
    api: "Client", run: "Run", states: "Sequence[RunStateEntry]", waits: "Sequence[Wait]" = ()
) -> None:
    """Print everything about a run, and why it waits if it does."""
    print_pairs([*_properties(run), ("result of", _source_of(api, run))])
    if waits:
        print_heading("Waits")
        print_waits(waits)
    if states:
        print_heading("States")
        rows = [
            (_state_time(one.at_us), str(one.attempt), state_of(one)[1], _first_line(one.message))
            for one in states
        ]
        print_table(("AT", "ATTEMPT", "STATE", "MESSAGE"), rows, _styles(states))
    if run.upstream:
        print_heading("Upstream")
        _print_upstream(api, run.upstream)
    if run.HasField("failure"):
        print_heading("Failure")
        _print_failure(run.failure)


def _properties(run: "Run") -> list[tuple[str, str]]:
    kind = name_in(RunKind, run.kind).lower()
    state = state_of(run)[1]
    took = duration(run.started_us, run.ended_us)
    return [
        (f"{kind} run", run.name),
        ("id", format_id(run.run_id)),
        ("state", f"{state}: {_first_line(run.message)}" if run.message else state),
        (kind, run.task_name),
        ("called with", shown_parameters(run)),
        ("flow run", format_id(run.flow_run_id)),
        ("called by", format_id(run.caller_run_id)),
        ("attempt", str(run.attempt)),
        ("lost", f"{run.infra_retries} attempts, with their worker or agent" if run.infra_retries else ""),
        ("submitted", clock_time(run.submitted_us)),
        ("started", clock_time(run.started_us)),
        ("ended", f"{clock_time(run.ended_us)} (took {took})" if took else clock_time(run.ended_us)),
        ("queue", run.queue),
        ("tags", ", ".join(run.tags)),
        ("agent", run.agent_name),
        ("cache key", run.cache_key),
    ]


def _source_of(api: "Client", run: "Run") -> str:
    """Return which run computed a result that was taken from the cache."""
    if not run.cached_run_id:
        return ""
    name = _state_and_name(api, run.cached_run_id)[1]
    return f"{format_id(run.cached_run_id)} ({name})" if name else format_id(run.cached_run_id)


def _print_upstream(api: "Client", upstream: "Sequence[Upstream]") -> None:
    shown = upstream[:SHOWN_UPSTREAM]
    ids = id_cells([edge.run_id for edge in shown])
    rows = []
    for edge in shown:
        state, name = _state_and_name(api, edge.run_id)
        rows.append((name, name_in(UpstreamKind, edge.kind).lower(), state, ids[edge.run_id]))
    print_table((NAMES, Column("KIND", rank=1), "STATE", Column("ID")), rows)
    if len(upstream) > len(shown):
        print(f"... and {len(upstream) - len(shown)} more; --json lists all")


def _state_and_name(api: "Client", run_id: bytes) -> tuple[str, str]:
    try:
        run = api.get_run(run_id)
    except RunNotFound:  # removed by retention
        return "", ""
    return state_of(run)[1], run.name


def _print_failure(failure: "Failure") -> None:
    if failure.HasField("cause"):
        _print_failure(failure.cause)
        print("\nThis was the cause of:\n")
    if failure.traceback:
        print(failure.traceback.rstrip("\n"))
    else:
        print(f"{failure.type}: {failure.message}")


def _state_time(at_us: int) -> str:
    """Return when a state began, to the millisecond; on a terminal without the day if that is today."""
    text = clock_time(at_us)
    if on_terminal() and text[:10] == datetime.now().strftime("%Y-%m-%d"):
        return text[11:]
    return text


def _first_line(text: str) -> str:
    return text.split("\n", 1)[0]


def _styles(states: "Sequence[Run] | Sequence[RunStateEntry]") -> list[str]:
    return [STATE_STYLES.get(state_of(one)[0], "") for one in states]
