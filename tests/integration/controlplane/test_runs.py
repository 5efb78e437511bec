"""RunService against a real owner and a real database."""

from typing import Any

import grpc
import pytest
from support.following import Watching

from taskyard_api.v1 import (
    agent_service_pb2,
    common_pb2,
    failure_pb2,
    run_service_pb2,
    states_pb2,
    template_pb2,
)
from taskyard_contract.errors import InvalidRequest, PayloadTooLarge, RunNotFound, TaskyardError
from taskyard_contract.id_factory import new_id
from taskyard_contract.states import ReportKind, RunState, StateReason
from taskyard_contract.transport.rpc_errors import from_rpc_error
from taskyard_controlplane.storage.queries import DatabaseReader

pb = run_service_pb2


def error_of(call: Any, request: Any) -> TaskyardError:
    with pytest.raises(grpc.RpcError) as caught:
        call(request, timeout=10)
    return from_rpc_error(caught.value)


def valid_run(**changes: Any) -> run_service_pb2.NewRun:
    template = template_pb2.RunTemplate(
        kind=states_pb2.RUN_KIND_TASK, name="add", queue="default", code=template_pb2.Code(task_name="add")
    )
    return run_service_pb2.NewRun(**{"run_id": new_id(), "template": template, **changes})


def test_a_submitted_run_is_queued(served: Any) -> None:
    [run_id] = served.submit(tags=["nightly"])
    run = served.get(run_id)
    assert (run.state, run.task_name, run.queue) == (RunState.READY, "add", "default")
    assert list(run.tags) == ["nightly"]
    assert run.submitted_us > 0
    assert run.started_us == run.ended_us == 0


def test_headers_are_shown_in_full_as_they_were_submitted(served: Any) -> None:
    run = valid_run(headers={"traceparent": "00-abc-def-01"})
    assert not served.runs.SubmitRuns(pb.SubmitRunsRequest(runs=[run]), timeout=10).refused
    assert dict(served.get(run.run_id, view=pb.RUN_VIEW_FULL).headers) == {"traceparent": "00-abc-def-01"}
    assert not served.get(run.run_id).headers
    [other] = served.submit()
    assert not served.get(other, view=pb.RUN_VIEW_FULL).headers


def test_submitting_again_changes_nothing(served: Any) -> None:
    run = valid_run()
    request = pb.SubmitRunsRequest(runs=[run])
    assert not served.runs.SubmitRuns(request, timeout=10).refused
    assert not served.runs.SubmitRuns(request, timeout=10).refused
    assert len(served.runs.ListRuns(pb.ListRunsRequest(), timeout=10).runs) == 1


def test_a_completed_run_has_its_result_and_history(served: Any, agent: Any) -> None:
    [run_id] = served.submit()
    [(epoch, taken)] = agent.take(1)
    assert taken == run_id
    submitted_us = served.get(run_id).submitted_us
    agent.report(epoch, run_id, b"3", started_us=submitted_us + 10)
    run = served.runs.WaitRun(pb.WaitRunRequest(run_id=run_id, timeout_ms=10_000), timeout=15).run
    assert (run.state, run.result.data, run.result.encoding) == (RunState.COMPLETED, b"3", "json/plain")
    assert not served.get(run_id).HasField("result")
    assert served.get(run_id, include_result=True).result.data == b"3"
    states = served.runs.ListRunStates(pb.ListRunStatesRequest(run_id=run_id), timeout=10).states
    assert [entry.state for entry in states] == [RunState.PENDING, RunState.RUNNING, RunState.COMPLETED]
    assert [entry.at_us for entry in states] == [run.submitted_us, run.started_us, run.ended_us]


def test_the_owner_knows_who_executes_a_run(served: Any, agent: Any) -> None:
    [run_id] = served.submit()
    [(epoch, _)] = agent.take(1)
    run = served.get(run_id)
    assert (run.state, run.agent_name) == (RunState.ASSIGNED, "small")
    watching = Watching(served.runs).caught_up()  # nobody acknowledges that a run has started
    agent.started(epoch, run_id)
    watching.until_state(run_id, RunState.RUNNING)
    watching.close()
    wanted = pb.ListRunsRequest(filter=pb.RunFilter(states=[RunState.RUNNING]))
    listed = served.runs.ListRuns(wanted, timeout=10).runs
    assert [run.run_id for run in listed] == [run_id]


def test_a_retried_run_shows_every_attempt(served: Any, agent: Any) -> None:
    [run_id] = served.submit(retry=template_pb2.RetryPolicy(max_retries=1))
    [(epoch, _)] = agent.take(1)
    failure = failure_pb2.Failure(type="ValueError", message="no")
    agent.report(epoch, run_id, b"", kind=ReportKind.FAILED, failure=failure)
    [(epoch, _)] = agent.take(1)
    agent.report(epoch, run_id, b"", kind=ReportKind.FAILED, failure=failure)
    run = served.runs.WaitRun(pb.WaitRunRequest(run_id=run_id, timeout_ms=10_000), timeout=15).run
    assert (run.state, run.attempt, run.failure.type) == (RunState.FAILED, 2, "ValueError")
    states = served.runs.ListRunStates(pb.ListRunStatesRequest(run_id=run_id), timeout=10).states
    assert [(entry.state, entry.attempt) for entry in states] == [
        (RunState.PENDING, 1),
        (RunState.RUNNING, 1),
        (RunState.READY, 2),
        (RunState.RUNNING, 2),
        (RunState.FAILED, 2),
    ]


def test_waiting_for_an_open_run_ends_with_the_timeout(served: Any) -> None:
    [run_id] = served.submit()
    run = served.runs.WaitRun(pb.WaitRunRequest(run_id=run_id, timeout_ms=50), timeout=10).run
    assert run.state == RunState.READY


def test_cancelling_a_queued_run_ends_it(served: Any) -> None:
    [run_id] = served.submit()
    request = pb.CancelRunRequest(run_id=run_id)
    assert served.runs.CancelRun(request, timeout=10).state == RunState.CANCELLED
    assert served.runs.CancelRun(request, timeout=10).state == RunState.CANCELLED
    run = served.get(run_id)
    assert (run.state, run.reason) == (RunState.CANCELLED, StateReason.CANCEL_REQUESTED)


def test_pages_of_runs_go_from_new_to_old_without_gaps(served: Any) -> None:
    ids = served.submit(7)
    seen, token, pages = [], "", 0
    while True:
        page = served.runs.ListRuns(pb.ListRunsRequest(page_size=3, page_token=token), timeout=10)
        seen += [run.run_id for run in page.runs]
        pages += 1
        token = page.next_page_token
        if not token:
            break
    assert (seen, pages) == (ids[::-1], 3)


def test_runs_are_filtered_by_state_and_name(served: Any) -> None:
    [kept] = served.submit(name="alpha")
    [ended] = served.submit(name="beta")
    served.runs.CancelRun(pb.CancelRunRequest(run_id=ended), timeout=10)

    def listed(**fields: Any) -> list[bytes]:
        page = served.runs.ListRuns(pb.ListRunsRequest(filter=pb.RunFilter(**fields)), timeout=10)
        return [run.run_id for run in page.runs]

    assert listed(states=[RunState.CANCELLED]) == [ended]
    assert listed(states=[RunState.READY]) == [kept]
    assert listed(states=[RunState.READY, RunState.CANCELLED]) == [ended, kept]
    assert listed(states=[RunState.RUNNING]) == []
    assert listed(name_contains="lph") == [kept]
    assert listed(kind=states_pb2.RUN_KIND_FLOW) == []
    assert listed(flow_run_id=new_id()) == []


def test_logs_are_listed_and_followed(served: Any, agent: Any) -> None:
    [run_id] = served.submit()
    [(epoch, _)] = agent.take(1)
    request = pb.ListRunLogsRequest(run_id=run_id)
    assert served.runs.ListRunLogs(request, timeout=10).next_page_token == ""
    logs = agent_service_pb2.AgentFrame().logs
    for text in ("one", "two"):
        logs.run_ids.append(run_id)
        logs.at_us.append(1)
        logs.levels.append(20)
        logs.loggers.append("mine")
        logs.messages.append(text)
        logs.run_names.append("add")
    agent.send(agent_service_pb2.AgentFrame(logs=logs))
    agent.report(epoch, run_id, b"3")
    served.runs.WaitRun(pb.WaitRunRequest(run_id=run_id, timeout_ms=10_000), timeout=15)
    page = served.runs.ListRunLogs(pb.ListRunLogsRequest(run_id=run_id, page_size=1), timeout=10)
    assert list(page.logs.messages) == ["one"]
    request.page_token = page.next_page_token
    page = served.runs.ListRunLogs(request, timeout=10)
    assert (list(page.logs.messages), list(page.logs.levels)) == (["two"], [20])
    request.page_token = page.next_page_token
    page = served.runs.ListRunLogs(request, timeout=10)
    assert (list(page.logs.messages), page.next_page_token) == ([], request.page_token)


def test_who_lists_a_log_is_told_if_its_beginning_was_removed(
    served: Any, agent: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    [run_id] = served.submit()
    request, follow = pb.ListRunLogsRequest(run_id=run_id), pb.TailRunLogsRequest(run_id=run_id)
    submitted_us = served.get(run_id).submitted_us
    for removed_us, told_us in ((submitted_us, 0), (submitted_us + 1, submitted_us + 1)):
        monkeypatch.setattr(DatabaseReader, "logs_removed_before_us", lambda reader, at=removed_us: at)
        assert served.runs.ListRunLogs(request, timeout=10).removed_before_us == told_us
    first = next(iter(served.runs.TailRunLogs(follow, timeout=10)))
    assert (first.removed_before_us, first.next_page_token) == (submitted_us + 1, "")


@pytest.mark.parametrize(
    ("call", "request_type"),
    [
        ("GetRun", pb.GetRunRequest),
        ("WaitRun", pb.WaitRunRequest),
        ("ListRunStates", pb.ListRunStatesRequest),
        ("ListRunLogs", pb.ListRunLogsRequest),
        ("CancelRun", pb.CancelRunRequest),
    ],
)
def test_an_unknown_run_is_not_found(served: Any, call: str, request_type: Any) -> None:
    run_id = new_id()
    error = error_of(getattr(served.runs, call), request_type(run_id=run_id))
    assert isinstance(error, RunNotFound)
    assert error.run_id == run_id
    assert isinstance(error_of(getattr(served.runs, call), request_type(run_id=b"short")), InvalidRequest)


def test_a_foreign_page_token_is_an_invalid_request(served: Any) -> None:
    error = error_of(served.runs.ListRuns, pb.ListRunsRequest(page_token="garbage"))
    assert isinstance(error, InvalidRequest)
    assert "page_token" in str(error)


TASK = valid_run().template
FLOW = template_pb2.RunTemplate(kind=states_pb2.RUN_KIND_FLOW, name="f")
CODELESS = template_pb2.RunTemplate(kind=states_pb2.RUN_KIND_TASK, name="f")


@pytest.mark.parametrize(
    ("run", "kind", "text"),
    [
        (valid_run(run_id=b"short"), InvalidRequest, "runs[0].run_id"),
        (
            valid_run(template=template_pb2.RunTemplate(kind=states_pb2.RUN_KIND_FLOW, name="f")),
            InvalidRequest,
            "session",
        ),
        (valid_run(template=CODELESS), InvalidRequest, "code"),
        (valid_run(args=common_pb2.Payload(data=bytes(70_000))), PayloadTooLarge, "blob"),
        (valid_run(upstream=[pb.Upstream(run_id=b"short")]), InvalidRequest, "upstream"),
    ],
)
def test_a_malformed_run_is_refused_with_its_position(served: Any, run: Any, kind: type, text: str) -> None:
    error = error_of(served.runs.SubmitRuns, pb.SubmitRunsRequest(runs=[run]))
    assert type(error) is kind
    assert text in str(error)


def test_a_request_holds_at_most_a_thousand_runs(served: Any) -> None:
    runs = [valid_run(template=TASK)] * 1_001
    error = error_of(served.runs.SubmitRuns, pb.SubmitRunsRequest(runs=runs))
    assert (type(error), error.limit) == (InvalidRequest, 1_000)


def test_a_run_that_no_agent_can_execute_says_what_it_waits_for(served: Any) -> None:
    (run_id,) = served.submit(agent_labels={"gpu": "a100"})
    assert served.get(run_id).message == "no agent is connected"
    other = served.agent("other", {})
    assert served.get(run_id).message == "no agent is labelled gpu=a100"
    fitting = served.agent("fitting", {"gpu": "a100"})
    assert served.get(run_id).message == "", "it waits for its turn only"
    (taken,) = fitting.take(1)
    assert served.get(run_id).message == ""
    fitting.report(*taken, b"1")
    fitting.wait_reported()
    for agent in (other, fitting):
        agent.close()
