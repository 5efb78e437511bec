"""``taskyard run tree``: what a run has called, with runs of the same task in one line."""

from typing import Any

import pytest
from support.fake_services import START_US, make_run, run_id

from taskyard.cli.inside import Inside, TaskSums
from taskyard_api.v1 import run_service_pb2 as pb
from taskyard_contract.states import RunKind, RunState

S = RunState
FLOW = {"kind": 2, "task_name": "main"}


def summary(name: str, caller: str = "", kind: RunKind = RunKind.TASK, **counts: int) -> pb.TaskSummary:
    """What a page tells of a task, of which each run took 200 ms."""
    states: list[Any] = [
        pb.StateCount(state=int(S[state]), runs=runs)  # type: ignore[arg-type]  # equal
        for state, runs in counts.items()
    ]
    ended = sum(runs for state, runs in counts.items() if S[state] >= 100)
    took = [pb.DurationCount(duration_us=200_000, runs=ended)] if ended else []
    return pb.TaskSummary(
        kind=int(kind),  # type: ignore[arg-type]  # equal
        task_name=name,
        caller_task_name=caller,
        counts=states,
        durations=took,
        first_started_us=START_US if ended else 0,
        last_ended_us=START_US + 4_500_000 if ended else 0,
    )


def make_flow(number: int, name: str, **fields: Any) -> pb.Run:
    return make_run(number, name=name, **{**FLOW, **fields})


def tree_lines(call: Any, run: str, *options: str) -> list[str]:
    called = call("run", "tree", run, *options)
    assert called.code == 0, called.err
    return [line.replace(str(_uuid(1)), "ID1").replace(str(_uuid(2)), "ID2") for line in called.lines]


def _uuid(number: int) -> Any:
    from uuid import UUID

    return UUID(bytes=run_id(number))


def test_a_map_is_one_line_with_its_states_and_the_median(services, call):
    services.runs = [make_flow(1, "great-ammonite")]
    services.inside = {run_id(1): [[summary("step", COMPLETED=990, FAILED=10)]]}
    assert tree_lines(call, "great-ammonite") == [
        "great-ammonite (flow main, ID1): Completed, 12 ms",
        "└─ step x 1,000: 990 completed, 10 failed, median 200 ms, all in 4.5 s",
    ]


def test_pages_are_added_up(services, call):
    services.runs = [make_flow(1, "great-ammonite", state=S.RUNNING, ended_us=0)]
    pages = [[summary("step", COMPLETED=3)], [summary("step", RUNNING=1, ASSIGNED=2, PENDING=4)]]
    services.inside = {run_id(1): pages}
    assert tree_lines(call, "great-ammonite") == [
        "great-ammonite (flow main, ID1): Running",
        "└─ step x 10: 3 completed, 1 running, 6 waiting, median 200 ms",
    ]


def test_what_tasks_have_called_is_below_them(services, call):
    services.runs = [make_flow(1, "great-ammonite")]
    tasks = [
        summary("load", COMPLETED=1),
        summary("step", COMPLETED=2),
        summary("helper", "step", COMPLETED=4),
        summary("deep", "helper", NOT_READY=8),
    ]
    services.inside = {run_id(1): [tasks]}
    assert tree_lines(call, "great-ammonite")[1:] == [
        "├─ load: completed, 200 ms",
        "└─ step x 2: 2 completed, median 200 ms, all in 4.5 s",
        "   └─ helper x 4: 4 completed, median 200 ms, all in 4.5 s",
        "      └─ deep x 8: 8 not ready, median 200 ms, all in 4.5 s",
    ]


@pytest.mark.parametrize("names", [("loop",), ("ping", "pong"), ("a", "b", "c")])
def test_tasks_that_call_each_other_end_somewhere(services, call, names):
    services.runs = [make_flow(1, "great-ammonite")]
    circle = [
        summary(name, caller, COMPLETED=5) for caller, name in zip(names, (*names[1:], names[0]), strict=True)
    ]
    services.inside = {run_id(1): [[summary(names[0], COMPLETED=1), *circle]]}
    lines = tree_lines(call, "great-ammonite")
    assert len(lines) <= 2 + len(names)
    assert f"{names[-1]} x 5" in lines[-2] or f"{names[0]} x 5" in lines[-1]


def test_nested_flow_runs_are_looked_into(services, call):
    services.runs = [
        make_flow(1, "outer-one"),
        make_flow(2, "inner-one", task_name="inner", flow_run_id=run_id(1)),
    ]
    services.inside = {
        run_id(1): [[summary("inner", kind=RunKind.FLOW, COMPLETED=1), summary("step", COMPLETED=2)]],
        run_id(2): [[summary("step", FAILED=3)]],
    }
    # The fake server lists the outer one as well: real ones know that it is not inside itself.
    services.runs[0].flow_run_id = b""
    lines = tree_lines(call, "outer-one")
    assert "├─ inner-one (flow inner, ID2): Completed, 12 ms" in lines
    assert "│  └─ step x 3: 3 failed, median 200 ms, all in 4.5 s" in lines
    assert lines[-1] == "└─ step x 2: 2 completed, median 200 ms, all in 4.5 s"


def test_depth_says_how_deep(services, call):
    services.runs = [
        make_flow(1, "outer-one"),
        make_flow(2, "inner-one", task_name="inner", flow_run_id=run_id(1)),
    ]
    services.inside = {
        run_id(1): [[summary("inner", kind=RunKind.FLOW, COMPLETED=1)]],
        run_id(2): [[summary("step", FAILED=3)]],
    }
    lines = tree_lines(call, "outer-one", "--depth", "1")
    assert lines[-1] == "└─ inner-one (flow inner, ID2): Completed, 12 ms (--depth shows more)"


def test_many_flow_runs_of_one_flow_are_one_line(services, call):
    services.runs = [make_flow(1, "outer-one")]
    services.inside = {run_id(1): [[summary("inner", kind=RunKind.FLOW, COMPLETED=11)]]}
    assert tree_lines(call, "outer-one")[1:] == [
        "└─ flow inner x 11: 11 completed, median 200 ms, all in 4.5 s"
    ]


def test_a_task_run_shows_what_it_has_called(services, call):
    services.runs = [make_run(1), make_run(2, name="helper-0", task_name="helper", caller_run_id=run_id(1))]
    lines = tree_lines(call, "add-1")
    assert lines[0] == "add-1 (task add, ID1): Completed, 12 ms"
    assert "helper: completed, 12 ms" in lines[-1]


def test_json_has_the_same(services, call):
    services.runs = [make_flow(1, "great-ammonite")]
    services.inside = {
        run_id(1): [[summary("step", COMPLETED=990, FAILED=10), summary("sub", "step", PENDING=1)]]
    }
    document = call("run", "tree", "great-ammonite", "--json").document
    assert (document["name"], document["state"]) == ("great-ammonite", "COMPLETED")
    [step] = document["inside"]
    assert {**step, "inside": len(step["inside"])} == {
        "kind": "task",
        "task_name": "step",
        "runs": 1_000,
        "states": {"completed": 990, "failed": 10},
        "median_seconds": 0.2,
        "inside": 1,
    }
    assert step["inside"][0]["median_seconds"] is None


def test_no_run_is_said(services, call):
    called = call("run", "tree", "nobody")
    assert (called.code, called.out) == (1, "")


@pytest.mark.parametrize(
    ("durations", "median"),
    [({}, None), ({5: 1}, 5), ({1: 1, 9: 1}, 1), ({1: 2, 5: 1, 9: 2}, 5), ({7: 100, 8: 1}, 7)],
)
def test_the_median_is_that_of_the_one_in_the_middle(durations, median):
    sums = TaskSums(1, "step", "")
    sums.durations.update(durations)
    assert sums.median_us() == median


def test_a_page_in_which_all_has_ended_is_asked_for_once():
    class Api:
        def __init__(self) -> None:
            steps = ({"COMPLETED": 5}, {"RUNNING": 1}, {"COMPLETED": 5})
            self.pages = [[summary("step", **counts)] for counts in steps]
            self.asked: list[str] = []

        def summarize_runs(self, flow: bytes, token: str, *, details: bool) -> pb.SummarizeRunsResponse:
            self.asked.append(token)
            number = int(token or 0)
            more = str(number + 1) if number + 1 < len(self.pages) else ""
            return pb.SummarizeRunsResponse(tasks=self.pages[number], next_page_token=more)

    api: Any = Api()
    inside = Inside(api, b"flow")
    for expected in (["", "1", "2"], ["1", "2"]):
        api.asked.clear()
        [sums] = inside.read().values()
        assert (sums.runs, sums.open) == (11, 1)
        assert api.asked == expected
    api.pages[1] = [summary("step", FAILED=1)]
    for expected in (["1", "2"], ["2"]):  # the last one may become more
        api.asked.clear()
        [sums] = inside.read().values()
        assert (sums.runs, sums.open) == (11, 0)
        assert api.asked == expected
