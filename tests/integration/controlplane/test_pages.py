"""Pages that every client can take, whoever wrote what is on them."""

from collections.abc import Callable, Iterator
from typing import Any

import grpc
import pytest

from taskyard_api.v1 import (
    admin_service_pb2,
    agent_service_pb2,
    common_pb2,
    failure_pb2,
    run_service_pb2,
    run_service_pb2_grpc,
    session_service_pb2,
    states_pb2,
)
from taskyard_contract.errors import InvalidRequest, TaskyardError
from taskyard_contract.transport.rpc_errors import from_rpc_error
from taskyard_contract.wire_text import LOG_LIMIT, MESSAGE_LIMIT

FAILED: Any = agent_service_pb2.REPORT_KIND_FAILED


def refusal_of(call: Callable[[], object]) -> TaskyardError:
    with pytest.raises(grpc.RpcError) as caught:
        call()
    assert caught.value.code() == grpc.StatusCode.INVALID_ARGUMENT
    return from_rpc_error(caught.value)


@pytest.fixture
def plain(served: Any) -> Iterator[run_service_pb2_grpc.RunServiceStub]:
    """A client that sets no limits: gRPC's own is 4 MiB, in every language."""
    with grpc.insecure_channel(served.plane.address) as channel:
        yield run_service_pb2_grpc.RunServiceStub(channel)


def _fail(agent: Any, taken: list[tuple[int, bytes]], failure: failure_pb2.Failure) -> None:
    for epoch, run_id in taken:
        agent.report(epoch, run_id, b"", kind=FAILED, failure=failure, not_retriable=True)


def _listed(plain: Any, **fields: Any) -> list[list[run_service_pb2.Run]]:
    pages, token = [], ""
    while True:
        page = plain.ListRuns(run_service_pb2.ListRunsRequest(page_token=token, **fields), timeout=10)
        pages.append(list(page.runs))
        token = page.next_page_token
        if not token:
            return pages


def test_a_page_of_failures_is_cut_by_bytes(served: Any, agent: Any, plain: Any) -> None:
    count = 60
    served.submit(count)
    failure = failure_pb2.Failure(
        type="E", message="m" * 200_000, traceback="t" * 200_000,
        encoded=common_pb2.Payload(encoding="x", data=b"e" * 40_000),
    )  # fmt: skip
    taken = agent.take(count)
    _fail(agent, taken, failure)
    agent.wait_reported()
    pages = _listed(plain)
    assert len(pages) > 1
    runs = [run for page in pages for run in page]
    assert [run.run_id for run in runs] == [run_id for _, run_id in sorted(taken, reverse=True)]
    assert {len(run.failure.message) for run in runs} == {MESSAGE_LIMIT + 3}
    assert {run.failure.HasField("encoded") for run in runs} == {False}
    assert plain.GetRun(run_service_pb2.GetRunRequest(run_id=runs[0].run_id)).run.failure.encoded.data


def test_a_chain_of_causes_ends_no_stream(served: Any, agent: Any) -> None:
    (run_id,) = served.submit()
    failure = failure_pb2.Failure(type="E0")
    for number in range(1, 95):
        failure = failure_pb2.Failure(type=f"E{number}", cause=failure)
    _fail(agent, agent.take(1), failure)
    agent.wait_reported()
    watcher = served.session(session_service_pb2.ClientFrame(subscribe=[run_id]))
    outcome = next(frame.results.others[0] for frame in watcher if frame.results.others)
    assert outcome.failure.cause.type == "E93"
    assert not outcome.failure.cause.cause.cause.cause.HasField("cause")


def test_a_log_of_long_lines_comes_in_pages(served: Any, agent: Any, plain: Any) -> None:
    (run_id,) = served.submit()
    agent.take(1)
    count = 150
    for start in range(0, count, 50):
        logs = session_service_pb2.LogBatch(
            run_ids=[run_id] * 50,
            at_us=range(start, start + 50),
            levels=[20] * 50,
            loggers=["l" * 5000] * 50,
            messages=["x" * 40_000] * 50,
        )
        agent.log(logs)
    agent.wait_reported()
    read, token = [], ""
    while True:
        request = run_service_pb2.ListRunLogsRequest(run_id=run_id, page_token=token)
        page = plain.ListRunLogs(request, timeout=10)
        if not page.logs.messages:
            break
        read += list(page.logs.at_us)
        assert {len(text) for text in page.logs.messages} == {LOG_LIMIT + 3}
        token = page.next_page_token
    assert read == list(range(count))


def test_agents_with_many_labels_are_listed(served: Any) -> None:
    labels = {f"{number:05}": "x" * 1000 for number in range(3000)}
    agents = [served.agent("chatty", labels), served.agent("quiet", {})]
    with grpc.insecure_channel(served.plane.address) as channel:
        list_agents = channel.unary_unary(
            "/taskyard_api.v1.AdminService/ListAgents",
            request_serializer=admin_service_pb2.ListAgentsRequest.SerializeToString,
            response_deserializer=admin_service_pb2.ListAgentsResponse.FromString,
        )
        answer = list_agents(admin_service_pb2.ListAgentsRequest(), timeout=10)
    assert [agent.name for agent in answer.agents] == ["chatty", "quiet"]
    for agent in agents:
        agent.close()


def test_a_result_that_is_larger_inline_than_was_told_is_refused_and_nothing_else(
    served: Any, agent: Any
) -> None:
    ids = served.submit(2)
    for (epoch, run_id), size in zip(agent.take(2), (64 * 1024, 64 * 1024 + 1), strict=True):
        agent.report(epoch, run_id, b"x" * size)
    agent.wait_reported()
    kept, refused = (served.get(run_id, include_result=True) for run_id in ids)
    assert (kept.state, len(kept.result.data)) == (states_pb2.RUN_STATE_COMPLETED, 64 * 1024)
    assert refused.reason == states_pb2.STATE_REASON_RESULT_REFUSED
    assert "65,537 bytes" in refused.message


def _runs_token(served: Any, **wanted: Any) -> str:
    served.submit(2)
    request = run_service_pb2.ListRunsRequest(page_size=1, filter=run_service_pb2.RunFilter(**wanted))
    return served.runs.ListRuns(request, timeout=10).next_page_token


def _filter(**fields: Any) -> run_service_pb2.ListRunsRequest:
    return run_service_pb2.ListRunsRequest(filter=run_service_pb2.RunFilter(**fields))


@pytest.mark.parametrize(
    ("request_of", "text"),
    [
        (lambda served: _filter(states=[100] * 100_000), "filter.states"),
        (lambda served: _filter(states=[77]), "filter.states"),
        (lambda served: _filter(kind=9), "filter.kind"),
        (lambda served: _filter(name_contains="x" * 60_000), "filter.name_contains"),
        (lambda served: _filter(flow_run_id=b"abc"), "filter.flow_run_id"),
        (
            lambda served: run_service_pb2.ListRunsRequest(page_token=_runs_token(served, kind=1)),
            "page_token",
        ),
        (lambda served: run_service_pb2.ListRunsRequest(page_token="AgH" + "_" * 21), "page_token"),
    ],
)
def test_a_listing_that_cannot_be_answered_is_an_invalid_request(
    served: Any, request_of: Callable[[Any], run_service_pb2.ListRunsRequest], text: str
) -> None:
    error = refusal_of(lambda: served.runs.ListRuns(request_of(served), timeout=10))
    assert isinstance(error, InvalidRequest)
    assert text in str(error)


@pytest.mark.parametrize(
    "frame",
    [
        session_service_pb2.ClientFrame(subscribe=[b"abc"]),
        session_service_pb2.ClientFrame(cancel=[b"abc"]),
        session_service_pb2.ClientFrame(withdraw=[b"x" * 17]),
        session_service_pb2.ClientFrame(
            flow_reports=[
                session_service_pb2.FlowReport(run_id=b"abc", event=session_service_pb2.FLOW_EVENT_STARTED)
            ]
        ),
    ],
)
def test_an_id_of_another_length_is_an_invalid_request_on_a_stream(
    served: Any, frame: session_service_pb2.ClientFrame
) -> None:
    assert "a run id has 16" in str(refusal_of(lambda: list(served.session(frame))))
