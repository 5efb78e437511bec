import pickle

import grpc
from support.fake_services import START_US, make_run, run_id

from taskyard_api.v1 import common_pb2, failure_pb2
from taskyard_api.v1 import run_service_pb2 as pb
from taskyard_contract.encodings import PICKLE
from taskyard_contract.ids import format_id
from taskyard_contract.states import RunState, StateReason, UpstreamKind

CAUSE = failure_pb2.Failure(type="KeyError", message="'x'", traceback="Traceback ...\nKeyError: 'x'\n")
FAILURE = failure_pb2.Failure(
    type="ValueError", message="no", traceback="Traceback ...\nValueError: no\n", cause=CAUSE
)


def failed_run() -> pb.Run:
    edges = [
        pb.Upstream(run_id=run_id(2), kind=UpstreamKind.DATA),
        pb.Upstream(run_id=run_id(9), kind=UpstreamKind.ORDER),
    ]
    return make_run(
        1,
        state=RunState.FAILED,
        message="Task run encountered an exception ValueError: no",
        attempt=2,
        infra_retries=1,
        tags=["a", "b"],
        upstream=edges,
        failure=FAILURE,
        flow_run_id=run_id(3),
        cache_key="k",
    )


STATES = [
    pb.RunStateEntry(state=RunState.PENDING, at_us=START_US, attempt=1),
    pb.RunStateEntry(
        state=RunState.AWAITING_RETRY, at_us=START_US + 1_000, attempt=1, message="ValueError: no"
    ),
    pb.RunStateEntry(state=RunState.FAILED, at_us=START_US + 2_000_000, attempt=2),
]


def test_everything_about_a_failed_run(services, call):
    services.runs, services.states = [failed_run(), make_run(2)], STATES
    out = call("run", "show", "add-1").out
    lines = [line.split() for line in out.splitlines()]
    assert ["task", "run", "add-1"] in lines
    assert ["flow", "run", format_id(run_id(3))] in lines
    assert ["lost", "1", "attempts,", "with", "their", "worker", "or", "agent"] in lines
    assert ["tags", "a,", "b"] in lines
    assert any(line[3:] == ["AwaitingRetry", "ValueError:", "no"] for line in lines)
    assert ["add-2", "data", "Completed", format_id(run_id(2))] in lines
    assert ["order", format_id(run_id(9))] in lines  # nobody knows this one any more
    first, _, second = out.partition("This was the cause of:")
    assert CAUSE.traceback in first
    assert FAILURE.traceback in second


def test_the_same_as_json(services, call):
    services.runs, services.states = [failed_run()], STATES
    document = call("run", "show", "add-1", "--json").document
    assert document["failure"]["type"] == "ValueError"
    assert document["failure"]["cause"]["traceback"] == CAUSE.traceback
    assert document["upstream"][0] == {"id": format_id(run_id(2)), "kind": "data"}
    assert [entry["state_name"] for entry in document["states"]] == ["Pending", "AwaitingRetry", "Failed"]
    assert document["infra_retries"] == 1


def test_what_is_not_known_is_null(services, call):
    services.runs = [make_run(1, state=RunState.PENDING, started_us=0, ended_us=0, queue="")]
    document = call("run", "show", "add-1", "--json").document
    empty = ("started", "ended", "queue", "failure", "message", "reason", "agent", "cache_key", "flow_run_id")
    assert {name: document[name] for name in empty} == dict.fromkeys(empty)


def flow_with_runs() -> list[pb.Run]:
    """A flow run, newest, and what is inside: three that completed, and two that did not."""
    took = {2: 10_000, 3: 90_000, 4: 20_000}
    return [
        make_run(1, kind=2, name="nightly"),
        make_run(6, state=RunState.CRASHED, started_us=0, message="the worker\nwas killed", name="load-1"),
        make_run(5, state=RunState.FAILED, started_us=0, message="no", name="load-0"),
        *(
            make_run(number, started_us=START_US, ended_us=START_US + each, name=f"step-{number}")
            for number, each in took.items()
        ),
    ]


COUNTS = pb.CountRunsResponse(
    counts=[
        pb.StateCount(state=RunState.COMPLETED, runs=1_003),
        pb.StateCount(state=RunState.FAILED, runs=1),
        pb.StateCount(state=RunState.CRASHED, runs=1),
    ]
)


def test_a_flow_run_has_a_summary_of_the_runs_inside(services, call):
    services.runs, services.counts = flow_with_runs(), COUNTS
    out = call("run", "show", "nightly").out
    assert "1,005: 1,003 Completed, 1 Failed, 1 Crashed" in out
    assert "time: 20 ms in the middle, 10 ms the shortest, 90 ms the longest" in out
    lines = [line.split() for line in out.splitlines()]
    assert ["load-1", "Crashed", format_id(run_id(6)), "the", "worker"] in lines
    assert ["load-0", "Failed", format_id(run_id(5)), "no"] in lines
    assert f"taskyard run ls --flow {format_id(run_id(1))}" in out
    asked = [one.filter for one in services.asked if one.HasField("filter") and one.filter.flow_run_id]
    assert {one.flow_run_id for one in asked} == {run_id(1)}


def test_the_summary_as_json(services, call):
    services.runs, services.counts = flow_with_runs(), COUNTS
    inside = call("run", "show", "nightly", "--json").document["inside"]
    assert (inside["runs"], inside["states"]["Completed"], inside["timed_runs"]) == (1_005, 1_003, 3)
    assert inside["took"] == {"shortest": 0.01, "median": 0.02, "longest": 0.09}
    assert [(one["name"], one["state_name"]) for one in inside["ended_badly"]] == [
        ("load-1", "Crashed"),
        ("load-0", "Failed"),
    ]
    assert call("run", "show", "load-0", "--json").document["inside"] is None


def test_a_flow_run_without_runs_says_so(services, call):
    services.runs = [make_run(1, kind=2, name="nightly")]
    out = call("run", "show", "nightly").out
    assert out.endswith("Runs inside\nnone\n")
    assert [one for one in services.asked if getattr(one.filter, "states", None)] == [], "nothing failed"


def test_where_a_run_was_executed_is_said_after_its_end(services, call):
    services.runs = [make_run(1, agent_name="anvil")]
    assert ["agent", "anvil"] in [line.split() for line in call("run", "show", "add-1").lines]
    assert call("run", "show", "add-1", "--json").document["agent"] == "anvil"


def test_what_a_run_was_called_with_is_shown(services, call):
    args = common_pb2.Payload(encoding=PICKLE, data=pickle.dumps(((1,), {"size": "large"})))
    services.runs = [make_run(1, args=args)]
    assert "called with  1, size='large'" in call("run", "show", "add-1").lines
    assert call("run", "show", "add-1", "--json").document["parameters"] == {"0": 1, "size": "large"}
    services.runs = [make_run(1)]
    assert call("run", "show", "add-1", "--json").document["parameters"] is None


def test_names_of_states_are_what_users_know(services, call):
    services.runs = [
        make_run(1, state=RunState.FAILED, reason=StateReason.TIMED_OUT),
        make_run(2, state=RunState.RUNNING, attempt=2),
        make_run(3, state_name="Skipped"),
        make_run(4, state=99),
    ]
    names = [run["state_name"] for run in call("run", "ls", "--json").document]
    assert names == ["TimedOut", "Retrying", "Skipped", "Unknown99"]


def test_waiting_tells_the_states_and_then_shows_the_run(services, call):
    ended = make_run(1)
    services.runs, services.states, services.waits_left = [ended], STATES, 2
    services.show_as_open = 1
    called = call("run", "show", "add-1", "--wait")
    assert called.code == 0
    assert called.err.splitlines() == ["taskyard: add-1 is Running", "taskyard: add-1 is Completed"]
    assert "task run" in called.out


def test_waiting_goes_on_after_a_lost_connection_and_with_a_token_that_expired(services, call):
    services.runs, services.stops_left, services.expires_left = [make_run(1)], 2, 1
    services.show_as_open = 1
    called = call("run", "show", "add-1", "--wait", "--json")
    assert called.code == 0
    assert called.document["state"] == "COMPLETED"
    watches = [asked.resume_token for asked in services.asked if isinstance(asked, pb.WatchRunsRequest)]
    assert watches == ["", "1", "", "1"]


def test_waiting_goes_on_when_a_proxy_has_ended_the_stream(services, call):
    services.runs, services.show_as_open = [make_run(1)], 1
    services.resets = [grpc.StatusCode.INTERNAL, grpc.StatusCode.CANCELLED]
    called = call("run", "show", "add-1", "--wait", "--json")
    assert (called.code, called.document["state"]) == (0, "COMPLETED")
    watches = [asked.resume_token for asked in services.asked if isinstance(asked, pb.WatchRunsRequest)]
    assert watches == ["", "1", "1"]


def test_waiting_for_a_run_that_fails_is_1(services, call):
    services.runs, services.show_as_open = [make_run(1, state=RunState.FAILED)], 1
    called = call("run", "show", "add-1", "--wait")
    assert called.code == 1
    assert called.err.endswith("taskyard: add-1 ended Failed\n")


def test_waiting_for_a_run_that_has_ended_shows_it_at_once(services, call):
    services.runs = [make_run(1)]
    called = call("run", "show", "add-1", "--wait")
    assert (called.code, called.err) == (0, "")
