"""The server itself: errors, health, reflection, and an end that cuts nobody off."""

import logging
import queue
import time
from collections.abc import Callable
from typing import Any

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection_pb2, reflection_pb2_grpc

from taskyard_api.v1 import admin_service_pb2, agent_service_pb2, run_service_pb2, session_service_pb2
from taskyard_contract.errors import InvalidRequest, ServerStopping
from taskyard_contract.id_factory import new_id
from taskyard_contract.states import RunState
from taskyard_contract.transport.rpc_errors import from_rpc_error

GARBAGE = b"\xff\xff\xff\xff garbage"


def raw(served: Any, kind: str, method: str) -> Any:
    """Return a callable that sends bytes as they are."""
    return getattr(served.channel, kind)(f"/taskyard_api.v1.{method}")


def ended_with(call: Callable[[], Any]) -> grpc.RpcError:
    with pytest.raises(grpc.RpcError) as caught:
        call()
    return caught.value


@pytest.mark.parametrize(
    ("kind", "method"),
    [
        ("unary_unary", "RunService/GetRun"),
        ("unary_stream", "BlobService/DownloadBlob"),
        ("stream_unary", "BlobService/UploadBlob"),
        ("stream_stream", "SessionService/Connect"),
        ("stream_stream", "AgentService/Connect"),
    ],
)
def test_a_garbage_frame_ends_one_call_and_nothing_else(
    served: Any, kind: str, method: str, capfd: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    request = GARBAGE if kind.startswith("unary") else iter([GARBAGE])
    call = raw(served, kind, method)
    read = next if kind.endswith("stream") else lambda answer: answer
    error = from_rpc_error(ended_with(lambda: read(call(request, timeout=10))))
    assert isinstance(error, InvalidRequest)
    assert method in str(error)
    assert served.admin.GetServerInfo(admin_service_pb2.GetServerInfoRequest(), timeout=10).generation == 1
    assert capfd.readouterr().err == ""
    assert caplog.text == ""


def test_garbage_in_the_middle_of_a_session_ends_that_session(served: Any) -> None:
    hello = session_service_pb2.SessionHello(protocol_min=2, protocol_max=2, session_id=new_id())
    frames = [session_service_pb2.ClientFrame(hello=hello).SerializeToString(), GARBAGE]
    answers = raw(served, "stream_stream", "SessionService/Connect")(iter(frames), timeout=10)
    assert session_service_pb2.SessionFrame.FromString(next(answers)).HasField("welcome")
    error = from_rpc_error(ended_with(lambda: next(answers)))
    assert isinstance(error, InvalidRequest)


@pytest.mark.parametrize(
    ("service", "frame"),
    [("sessions", session_service_pb2.ClientFrame()), ("agents", agent_service_pb2.AgentFrame())],
)
def test_a_stream_must_begin_with_hello(served: Any, service: str, frame: Any) -> None:
    answers = getattr(served, service).Connect(iter([frame]), timeout=10)
    error = from_rpc_error(ended_with(lambda: next(answers)))
    assert isinstance(error, InvalidRequest)
    assert "hello" in str(error)


def test_an_unforeseen_error_is_internal_and_keeps_its_text_to_the_log(
    served: Any, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(served.plane.owner, "drain_agent", lambda agent_id, wish: 1 / 0)
    with caplog.at_level(logging.ERROR):
        request = admin_service_pb2.DrainAgentRequest(agent_id="x")
        error: Any = ended_with(lambda: served.admin.DrainAgent(request, timeout=10))
    assert error.code() is grpc.StatusCode.INTERNAL
    assert "division" not in error.details()
    assert "ZeroDivisionError" in caplog.text
    reference = error.details().rsplit(" ", 1)[-1]
    assert f"[{reference}]" in caplog.text
    assert served.admin.GetServerInfo(admin_service_pb2.GetServerInfoRequest(), timeout=10).generation == 1


def test_an_unknown_method_is_unimplemented(served: Any) -> None:
    error: Any = ended_with(lambda: raw(served, "unary_unary", "RunService/Nothing")(b"", timeout=10))
    assert error.code() is grpc.StatusCode.UNIMPLEMENTED


@pytest.mark.parametrize("service", ["", "taskyard_api.v1.RunService", "taskyard_api.v1.AgentService"])
def test_health_says_serving(served: Any, service: str) -> None:
    stub = health_pb2_grpc.HealthStub(served.channel)
    status = stub.Check(health_pb2.HealthCheckRequest(service=service), timeout=10).status
    assert status == health_pb2.HealthCheckResponse.SERVING


def test_health_of_an_unknown_service_is_not_found(served: Any) -> None:
    stub = health_pb2_grpc.HealthStub(served.channel)
    request = health_pb2.HealthCheckRequest(service="nothing")
    error: Any = ended_with(lambda: stub.Check(request, timeout=10))
    assert error.code() is grpc.StatusCode.NOT_FOUND


def test_health_watchers_see_the_end(serve: Callable[..., Any], run_on_loop: Callable[..., Any]) -> None:
    served = serve()
    watch = health_pb2_grpc.HealthStub(served.channel).Watch(health_pb2.HealthCheckRequest(), timeout=10)
    assert next(watch).status == health_pb2.HealthCheckResponse.SERVING
    run_on_loop(served.plane.stop())
    assert next(watch).status == health_pb2.HealthCheckResponse.NOT_SERVING


def test_reflection_names_every_service(served: Any) -> None:
    stub = reflection_pb2_grpc.ServerReflectionStub(served.channel)
    request = reflection_pb2.ServerReflectionRequest(list_services="")
    [answer] = stub.ServerReflectionInfo(iter([request]), timeout=10)
    names = {service.name for service in answer.list_services_response.service}
    assert names >= {
        f"taskyard_api.v1.{name}Service" for name in ("Run", "Session", "Agent", "Blob", "Admin")
    }


def test_stopping_tells_streams_to_reconnect(
    serve: Callable[..., Any], run_on_loop: Callable[..., Any]
) -> None:
    served = serve()
    hello = session_service_pb2.SessionHello(protocol_min=2, protocol_max=2, session_id=new_id())
    frames: queue.Queue[Any] = queue.Queue()
    frames.put(session_service_pb2.ClientFrame(hello=hello))
    answers = served.sessions.Connect(iter(frames.get, None), timeout=10)
    assert next(answers).HasField("welcome")
    run_on_loop(served.plane.stop())
    assert next(answers).reconnect_after_ms > 0
    frames.put(None)


def test_runs_survive_a_restart(serve: Callable[..., Any], run_on_loop: Callable[..., Any]) -> None:
    before = serve()
    [run_id] = before.submit()
    run_on_loop(before.plane.stop())
    after = serve()
    assert after.get(run_id).state == RunState.READY
    assert after.plane.owner.generation == 2


def test_stopping_ends_waits(serve: Callable[..., Any], run_on_loop: Callable[..., Any]) -> None:
    served = serve(stop_grace_seconds=10)
    [run_id] = served.submit()
    wait = served.runs.WaitRun.future(
        run_service_pb2.WaitRunRequest(run_id=run_id, timeout_ms=30_000), timeout=30
    )
    served.get(run_id)  # the server answers in order of arrival, so it waits by now
    started = time.monotonic()
    run_on_loop(served.plane.stop())
    assert time.monotonic() - started < 9, "the grace of 10 seconds was not used up"
    assert isinstance(from_rpc_error(wait.exception()), ServerStopping)
