"""What became of the runs inside a flow run: how many are in each state, how long they took, which failed.

Counts are of all runs. Times are of the newest ones, as many as somebody is willing to wait for.
"""

from typing import TYPE_CHECKING, Any, Final, NamedTuple

from taskyard.cli.searching import Search
from taskyard.cli.views.columns import Column
from taskyard.cli.views.documents import count_document, moment, shown_state, state_of
from taskyard.cli.views.output import NAMES, duration, id_cells, print_heading, print_table
from taskyard_contract.ids import format_id
from taskyard_contract.states import RunState, StateType, shown_as

if TYPE_CHECKING:
    from taskyard._network.server.calls import Client
    from taskyard_api.v1.run_service_pb2 import CountRunsResponse, Run

SHOWN_BAD: Final = 5
"""Of those that failed, by name; whoever wants all of them has `run ls --flow`."""
TIMED_RUNS: Final = 1_000
"""One page: of runs that are alike these are as good as all of them."""
_BAD_TYPES: Final = (StateType.FAILED, StateType.CRASHED, StateType.CANCELLED)
_BAD: Final = tuple(state for state in RunState if shown_as(state)[0] in _BAD_TYPES)


class Inside(NamedTuple):
    """What is known of the runs inside a flow run."""

    counts: "CountRunsResponse"
    bad: "list[Run]"
    """The newest that ended badly: at most one more than is shown."""
    took_us: list[int]
    """How long those took that have ended, shortest first."""
    timed_all: bool

    @property
    def total(self) -> int:
        """How many there are."""
        return sum(count.runs for count in self.counts.counts)


def inside(api: "Client", flow: "Run") -> Inside:
    """Ask for the runs inside a flow run."""
    from taskyard_api.v1.run_service_pb2 import RunFilter

    counts = api.count_runs(RunFilter(flow_run_id=flow.run_id))
    bad_states = {int(state) for state in _BAD}
    bad: list[Run] = []
    if any(count.state in bad_states for count in counts.counts):
        wanted = RunFilter(flow_run_id=flow.run_id, states=[int(state) for state in _BAD])  # type: ignore[misc]
        bad = list(Search(api, wanted, SHOWN_BAD + 1))
    newest = list(Search(api, RunFilter(flow_run_id=flow.run_id), TIMED_RUNS))
    took_us = sorted(run.ended_us - run.started_us for run in newest if run.started_us and run.ended_us)
    return Inside(counts, bad, took_us, len(newest) < TIMED_RUNS)


def print_inside(found: Inside, flow: "Run") -> None:
    """Print the summary of a flow run, and how to see more."""
    print_heading("Runs inside")
    if not found.total:
        print("none")
        return
    states = ", ".join(f"{count.runs:,} {shown_state(count.state)}" for count in found.counts.counts)
    print(f"{found.total:,}: {states}")
    if found.took_us:
        shortest, median, longest = (duration(1, 1 + each) for each in _three(found.took_us))
        of = "" if found.timed_all else f" of the newest {TIMED_RUNS:,}"
        print(f"time{of}: {median} in the middle, {shortest} the shortest, {longest} the longest")
    if found.bad:
        ids = id_cells([run.run_id for run in found.bad])
        shown = found.bad[:SHOWN_BAD]
        rows = [(run.name, state_of(run)[1], ids[run.run_id], _first_line(run.message)) for run in shown]
        print_table((NAMES, "STATE", Column("ID"), Column("MESSAGE", least=12, rank=1)), rows)
        if len(found.bad) > SHOWN_BAD:
            print("... and more")
    print(f"all of them: taskyard run ls --flow {format_id(flow.run_id)}")


def inside_document(found: Inside) -> dict[str, Any]:
    """Return the summary for programs; times are seconds."""
    shortest, median, longest = _three(found.took_us) if found.took_us else (None, None, None)
    return {
        **count_document(found.counts),
        "ended_badly": [
            {
                "id": format_id(run.run_id),
                "name": run.name,
                "state_name": state_of(run)[1],
                "ended": moment(run.ended_us),
            }
            for run in found.bad[:SHOWN_BAD]
        ],
        "took": {"shortest": _seconds(shortest), "median": _seconds(median), "longest": _seconds(longest)},
        "timed_runs": len(found.took_us),
    }


def _three(took_us: list[int]) -> tuple[int, int, int]:
    return took_us[0], took_us[len(took_us) // 2], took_us[-1]


def _seconds(microseconds: int | None) -> float | None:
    return None if microseconds is None else microseconds / 1_000_000


def _first_line(text: str) -> str:
    return text.split("\n", 1)[0]
