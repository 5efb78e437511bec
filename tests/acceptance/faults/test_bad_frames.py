"""Clients and agents that break the protocol: each gets a typed status, and nobody else notices."""

from collections.abc import Iterator
from typing import Any

import grpc
import pytest
from support.processes import Installation

from taskyard_api.v1 import (
    agent_service_pb2,
    agent_service_pb2_grpc,
    common_pb2,
    run_service_pb2,
    run_service_pb2_grpc,
    session_service_pb2,
    session_service_pb2_grpc,
    states_pb2,
    template_pb2,
)
from taskyard_contract.errors import InvalidRequest, PayloadTooLarge, TaskyardError, UnsupportedProtocol
from taskyard_contract.id_factory import new_id
from taskyard_contract.states import RunState, StateReason
from taskyard_contract.transport.rpc_errors import from_rpc_error

pytestmark = pytest.mark.acceptance

STREAMS = ["SessionService", "AgentService"]
# Field 1 is a message of 100 bytes, of which there are three.
GARBAGE = b"\x0a\x64abc"


@pytest.fixture(autouse=True)
def _everybody_else_goes_on(lasting: Installation) -> Iterator[None]:
    """Have a client with ordinary work on the side, before and after; the server must be the same process."""
    before = lasting.server
    yield
    assert before is not None
    assert before.running, before.describe()
    (told,) = lasting.succeeded(lasting.start_client("bad_input", "unpicklable-argument"), 30)
    assert told["after"] == "after"


def refusal(call: Any) -> tuple[grpc.StatusCode, TaskyardError]:
    """Return how a stream ended."""
    with pytest.raises(grpc.RpcError) as raised:
        list(call)
    return raised.value.code(), from_rpc_error(raised.value)


def hello_of(service: str, **fields: Any) -> tuple[Any, Any]:
    """Return a stub class and a first frame."""
    if service == "SessionService":
        hello = session_service_pb2.SessionHello(session_id=new_id(), **fields)
        return session_service_pb2_grpc.SessionServiceStub, session_service_pb2.ClientFrame(hello=hello)
    agent = agent_service_pb2.AgentHello(agent_id="strange", session_id=new_id(), queues=["none"], **fields)
    return agent_service_pb2_grpc.AgentServiceStub, agent_service_pb2.AgentFrame(hello=agent)


@pytest.mark.parametrize("service", STREAMS)
def test_a_protocol_version_nobody_has_in_common(channel: grpc.Channel, service: str) -> None:
    stub, frame = hello_of(service, protocol_min=900, protocol_max=901)
    code, error = refusal(stub(channel).Connect(iter([frame]), timeout=10))
    assert code == grpc.StatusCode.FAILED_PRECONDITION
    assert isinstance(error, UnsupportedProtocol)
    assert "900 to 901" in str(error)
    assert "upgrade the older one" in str(error)


@pytest.mark.parametrize("service", STREAMS)
@pytest.mark.parametrize("greeted", [False, True], ids=["as-first-frame", "after-hello"])
def test_bytes_that_are_no_frame(channel: grpc.Channel, service: str, greeted: bool) -> None:
    raw = channel.stream_stream(f"/taskyard_api.v1.{service}/Connect")
    frames = [GARBAGE]
    if greeted:
        frames.insert(0, hello_of(service, protocol_min=2, protocol_max=2)[1].SerializeToString())
    code, error = refusal(raw(iter(frames), timeout=10))
    assert code == grpc.StatusCode.INVALID_ARGUMENT
    assert isinstance(error, InvalidRequest)
    assert "could not be parsed" in str(error)


@pytest.mark.parametrize("service", STREAMS)
def test_a_stream_without_introduction(channel: grpc.Channel, service: str) -> None:
    stub, frame = hello_of(service)
    frame.ClearField("hello")
    code, error = refusal(stub(channel).Connect(iter([frame]), timeout=10))
    assert code == grpc.StatusCode.INVALID_ARGUMENT
    assert isinstance(error, InvalidRequest)
    assert "'hello'" in str(error)


def submit(
    channel: grpc.Channel, code: template_pb2.Code, args: bytes = b"[[], {}]"
) -> tuple[bytes, run_service_pb2.SubmitRunsResponse]:
    """Submit one run as a client of another language would."""
    template = template_pb2.RunTemplate(
        kind=states_pb2.RUN_KIND_TASK, name="foreign", task_key="foreign", queue="default",
        encoding="json/plain", code=code,
    )  # fmt: skip
    payload = common_pb2.Payload(encoding="json/plain", data=args)
    run = run_service_pb2.NewRun(run_id=new_id(), template=template, args=payload)
    request = run_service_pb2.SubmitRunsRequest(runs=[run])
    return run.run_id, run_service_pb2_grpc.RunServiceStub(channel).SubmitRuns(request, timeout=10)


@pytest.mark.parametrize(
    ("reference", "words"),
    [
        ("no_such_module:function", "no_such_module"),
        ("json:no_such_function", "no_such_function"),
        ("without-a-colon", "module:qualname"),
    ],
)
def test_a_function_that_does_not_exist(channel: grpc.Channel, reference: str, words: str) -> None:
    run_id, response = submit(channel, template_pb2.Code(reference=reference))
    assert not response.refused
    request = run_service_pb2.WaitRunRequest(run_id=run_id, timeout_ms=10_000)
    run = run_service_pb2_grpc.RunServiceStub(channel).WaitRun(request, timeout=15).run
    assert (run.state, run.reason) == (RunState.FAILED, StateReason.CODE_UNAVAILABLE), run
    assert words in run.message
    assert run.attempt == 1


def test_arguments_beyond_the_inline_limit(channel: grpc.Channel) -> None:
    with pytest.raises(grpc.RpcError) as raised:
        submit(channel, template_pb2.Code(reference="builtins:len"), args=b"[[" + b"1," * 99_999)
    error = from_rpc_error(raised.value)
    assert isinstance(error, PayloadTooLarge)
    assert error.limit == 65_536
    assert "as a blob" in str(error)


def test_a_frame_beyond_the_size_limit(channel: grpc.Channel) -> None:
    raw = channel.stream_stream("/taskyard_api.v1.SessionService/Connect")
    # One byte more than 16 MiB is refused by the transport, before anything is parsed.
    with pytest.raises(grpc.RpcError) as raised:
        list(raw(iter([bytes(16 * 1024 * 1024 + 1)]), timeout=10))
    assert raised.value.code() == grpc.StatusCode.RESOURCE_EXHAUSTED
