"""Each limit that a server tells is the one it holds to: what has it is taken, what has one more is not."""

import queue
import threading
import time
from collections.abc import Callable
from typing import Any

import grpc
import pytest
from grpc_status import rpc_status
from support.poller import Poller

from taskyard_api.v1 import admin_service_pb2 as admin
from taskyard_api.v1 import agent_service_pb2 as ap
from taskyard_api.v1 import blob_service_pb2 as bp
from taskyard_api.v1 import common_pb2, run_service_pb2, states_pb2
from taskyard_api.v1 import session_service_pb2 as sp
from taskyard_api.v1 import template_pb2 as tp
from taskyard_contract.errors import InvalidRequest, Overloaded, PayloadTooLarge, TaskyardError
from taskyard_contract.id_factory import new_id, new_ids
from taskyard_contract.states import ReportKind, RunState, UpstreamKind
from taskyard_contract.transport.channels import CLIENT_OPTIONS
from taskyard_contract.transport.rpc_errors import from_rpc_error, to_detail
from taskyard_contract.wire_failures import TRACEBACK_LIMIT
from taskyard_controlplane.domain.memory import MemoryLimits
from taskyard_controlplane.owner.serving.announcements import limits_of

ROOM = 64 * 1024
"""Small enough that a test can fill it."""
FIELDS = [field.name for field in common_pb2.Limits.DESCRIPTOR.fields]
Case = Callable[[Any, int], None]
CASES: dict[str, Case] = {}


def case(function: Case) -> Case:
    CASES[function.__name__] = function
    return function


def task(**changes: Any) -> tp.RunTemplate:
    usual = {
        "kind": states_pb2.RUN_KIND_TASK, "name": "add", "queue": "default", "encoding": "json/plain",
        "code": tp.Code(task_name="add"),
    }  # fmt: skip
    return tp.RunTemplate(**{**usual, **changes})


def new_run(template: tp.RunTemplate | None = None, **fields: Any) -> run_service_pb2.NewRun:
    return run_service_pb2.NewRun(run_id=new_id(), template=template or task(), **fields)


def error_of(call: Callable[[], Any]) -> TaskyardError:
    with pytest.raises(grpc.RpcError) as caught:
        call()
    return from_rpc_error(caught.value)  # type: ignore[arg-type]  # a call that failed has all of it


def submit(served: Any, *runs: run_service_pb2.NewRun) -> Any:
    return served.runs.SubmitRuns(run_service_pb2.SubmitRunsRequest(runs=runs), timeout=20)


def submit_refused(served: Any, *runs: run_service_pb2.NewRun) -> TaskyardError:
    return error_of(lambda: submit(served, *runs))


def until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 30
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.01)  # for what another thread does


def is_refusal(error: TaskyardError, kind: type[TaskyardError], limit: int, field: str) -> bool:
    """Whether an error says which limit was exceeded, and by what."""
    assert (type(error), error.limit, error.field) == (kind, limit, field), error
    return True


class Stream:
    """A session, as frames."""

    def __init__(self, served: Any) -> None:
        self._outgoing: queue.Queue[sp.ClientFrame | None] = queue.Queue()
        self.session_id = new_id()
        self.send(hello=sp.SessionHello(protocol_min=2, protocol_max=2, session_id=self.session_id))
        self.frames = served.sessions.Connect(iter(self._outgoing.get, None), timeout=60)
        self.welcome = next(self.frames).welcome

    def send(self, **fields: Any) -> None:
        self._outgoing.put(sp.ClientFrame(**fields))

    def submit(self, number: int, **fields: Any) -> None:
        self.send(submit=sp.SubmitBatch(number=number, **fields))

    def taken(self, number: int) -> None:
        """Return when a batch is durable."""
        while (frame := next(self.frames)).submitted_up_to < number:
            assert not frame.refused

    def error(self) -> TaskyardError:
        return error_of(lambda: list(self.frames))

    def close(self) -> None:
        self._outgoing.put(None)
        self.frames.cancel()


def define(index: int = 1, **changes: Any) -> tp.TemplateDefinition:
    return tp.TemplateDefinition(index=index, template=task(**changes))


@pytest.fixture
def small(serve: Callable[..., Any]) -> Any:
    """A server whose own limits are small."""
    return serve(
        max_payload_bytes=2 * ROOM,
        max_inline_bytes=ROOM,
        max_page_size=3,
        max_wait_seconds=0.3,
        memory=MemoryLimits(inputs=1_000),
    )


@pytest.mark.parametrize("field", FIELDS)
def test_a_server_takes_as_much_as_it_says_and_no_more(small: Any, field: str) -> None:
    info = small.admin.GetServerInfo(admin.GetServerInfoRequest(), timeout=10)
    limit = getattr(info.limits, field)
    assert limit > 0
    CASES[field](small, limit)


def test_whoever_connects_is_told_the_same(small: Any) -> None:
    info = small.admin.GetServerInfo(admin.GetServerInfoRequest(), timeout=10)
    stream = Stream(small)
    hello = ap.AgentHello(
        protocol_min=2, protocol_max=2, agent_id="a", session_id=new_id(), queues=["default"]
    )
    welcome = next(small.agents.Connect(iter([ap.AgentFrame(hello=hello)]), timeout=20)).welcome
    assert info.limits == welcome.limits == stream.welcome.limits == limits_of(small.plane.owner.terms)
    for told in (welcome, stream.welcome):
        assert (told.max_inline_bytes, told.max_payload_bytes) == (ROOM, 2 * ROOM)
    assert stream.welcome.max_unacked_batches == info.limits.unacked_batches
    owners = [common_pb2.ShardOwner(first=0, last=65_535)]
    assert list(info.owners) == list(welcome.owners) == list(stream.welcome.owners) == owners
    assert list(info.capabilities) == []
    assert list(stream.welcome.capabilities) == ["recorded_edges", "rollbacks"]
    assert list(welcome.capabilities) == ["coroutines", "own_session", "served_tasks"]
    stream.close()


@case
def frame_bytes(served: Any, limit: int) -> None:
    """The one limit that gRPC itself holds to: it reads no more, so nobody can say more."""
    options = [option for option in CLIENT_OPTIONS if "max_send" not in option[0]]
    with grpc.insecure_channel(served.plane.address, options=options) as channel:
        call = channel.unary_unary("/taskyard_api.v1.RunService/GetRun")
        request = run_service_pb2.GetRunRequest(namespace="n")
        request.namespace = "n" * (limit - len(request.SerializeToString()) - 2)
        for more, code in ((0, grpc.StatusCode.NOT_FOUND), (1, grpc.StatusCode.RESOURCE_EXHAUSTED)):
            data = request.SerializeToString()
            assert len(data) == limit + more
            with pytest.raises(grpc.RpcError) as caught:
                call(data, timeout=30)
            assert caught.value.code() == code  # type: ignore[attr-defined]
            request.namespace += "n"
        for name in ("SessionService/Connect", "AgentService/Connect", "BlobService/UploadBlob"):
            stream = channel.stream_stream(f"/taskyard_api.v1.{name}")
            with pytest.raises(grpc.RpcError) as caught:
                list(stream(iter([data]), timeout=30))
            assert caught.value.code() == grpc.StatusCode.RESOURCE_EXHAUSTED  # type: ignore[attr-defined]
            assert "larger than max" in caught.value.details()  # type: ignore[attr-defined]
            assert rpc_status.from_call(caught.value) is None, "protos/README.md says what that means"


@case
def inline_bytes(served: Any, limit: int) -> None:
    submit(served, new_run(args=common_pb2.Payload(data=bytes(limit))))
    error = submit_refused(served, new_run(), new_run(args=common_pb2.Payload(data=bytes(limit + 1))))
    assert is_refusal(error, PayloadTooLarge, limit, "runs[1].args.data")


@case
def payload_bytes(served: Any, limit: int) -> None:
    from taskyard_contract.transport.blob_transfer import ref_of

    def upload(data: bytes) -> Any:
        return served.blobs.UploadBlob(iter([bp.UploadBlobRequest(blob=ref_of(data), part=data)]), timeout=20)

    assert upload(bytes(limit)).blob.size == limit
    error = error_of(lambda: upload(bytes(limit + 1)))
    assert is_refusal(error, PayloadTooLarge, limit, "blob.size")
    submit(served, new_run(args=common_pb2.Payload(blob=ref_of(bytes(limit)))))
    too_large = common_pb2.BlobRef(digest=bytes(32), size=limit + 1)
    error = submit_refused(served, new_run(), new_run(args=common_pb2.Payload(blob=too_large)))
    assert is_refusal(error, PayloadTooLarge, limit, "runs[1].args.blob.size")


@case
def input_bytes(served: Any, limit: int) -> None:
    agent = served.agent("one", {"zone": "a"})
    bare = task(encoding="python/pickle5")  # results in others are kept with a label, which counts as well
    for size, state in ((limit, RunState.ASSIGNED), (limit + 1, RunState.FAILED)):
        first = new_run(bare)
        edge = run_service_pb2.Upstream(run_id=first.run_id, kind=UpstreamKind.DATA)  # type: ignore[arg-type]
        second = new_run(bare, upstream=[edge])
        submit(served, first, second)
        [(epoch, taken)] = agent.take(1)
        assert taken == first.run_id
        agent.report(epoch, taken, bytes(size))
        if state == RunState.ASSIGNED:
            assert [run_id for _, run_id in agent.take(1)] == [second.run_id]
        else:
            until(lambda run_id=second.run_id: served.get(run_id).state == RunState.FAILED)  # type: ignore[misc]
            assert f"more than {limit:,} bytes" in served.get(second.run_id).message
    agent.close()


@case
def frame_runs(served: Any, limit: int) -> None:
    stream = Stream(served)
    stream.submit(1, templates=[define()], groups=[sp.RunGroup(template=1, run_ids=new_ids(limit))])
    stream.taken(1)
    stream.submit(2, groups=[sp.RunGroup(template=1, run_ids=new_ids(limit + 1))])
    assert is_refusal(stream.error(), InvalidRequest, limit, "submit.runs")
    for field, items in (
        ("templates", [define(index + 1) for index in range(limit + 1)]),
        ("blobs", [common_pb2.InlineBlob(digest=bytes(32))] * (limit + 1)),
    ):
        stream = Stream(served)
        stream.submit(1, **{field: items})
        assert is_refusal(stream.error(), InvalidRequest, limit, f"submit.{field}")


@case
def submit_runs(served: Any, limit: int) -> None:
    submit(served, *[new_run() for _ in range(limit)])
    error = submit_refused(served, *[new_run() for _ in range(limit + 1)])
    assert is_refusal(error, InvalidRequest, limit, "runs")


@case
def frame_items(served: Any, limit: int) -> None:
    agent = served.agent("one", {"zone": "a"})
    agent.send(ap.AgentFrame(given_back=[ap.RunKey()] * limit, heartbeat=7))
    while next(agent.frames).heartbeat != 7:
        pass
    agent.send(ap.AgentFrame(given_back=[ap.RunKey()] * (limit + 1)))
    error = error_of(lambda: list(agent.frames))
    assert is_refusal(error, InvalidRequest, limit, "given_back")
    stream = Stream(served)
    stream.send(subscribe=[new_id()] * (limit + 1))
    assert is_refusal(stream.error(), InvalidRequest, limit, "subscribe")


@case
def definition_bytes(served: Any, limit: int) -> None:
    from taskyard_contract.transport.blob_transfer import ref_of

    def definitions(size: int) -> list[common_pb2.InlineBlob]:
        """Blobs that are taken, of so many bytes together."""
        blobs, left = [], size
        while left:
            part = min(left, ROOM)
            blob = common_pb2.InlineBlob(digest=bytes(32), data=bytes(part))
            blob.data = bytes(part - (blob.ByteSize() - part))
            blob.digest = ref_of(blob.data).digest
            assert blob.ByteSize() == part
            blobs.append(blob)
            left -= part
        return blobs

    stream = Stream(served)
    stream.submit(1, blobs=definitions(limit))
    stream.taken(1)
    stream.submit(2, blobs=[*definitions(limit - 40), common_pb2.InlineBlob(digest=bytes(32), data=b"12345")])
    assert is_refusal(stream.error(), InvalidRequest, limit, "submit.blobs")


@case
def template_bytes(served: Any, limit: int) -> None:
    template = task()
    template.tags.append("t" * (limit - template.ByteSize() - 4))
    assert template.ByteSize() == limit
    submit(served, new_run(template))
    template.tags[0] += "t"
    error = submit_refused(served, new_run(), new_run(template))
    assert is_refusal(error, InvalidRequest, limit, "runs[1].template")
    stream = Stream(served)
    stream.submit(1, templates=[define(), tp.TemplateDefinition(index=2, template=template)])
    assert is_refusal(stream.error(), InvalidRequest, limit, "submit.templates[1].template")


@case
def stream_templates(served: Any, limit: int) -> None:
    stream = Stream(served)
    indices = list(range(1, limit + 1))
    for number, start in enumerate(range(0, limit, 1_000), start=1):
        stream.submit(number, templates=[define(index) for index in indices[start : start + 1_000]])
        stream.taken(number)
    stream.submit(number + 1, templates=[define(limit + 1)])
    error = stream.error()
    assert is_refusal(error, Overloaded, limit, "submit.templates")
    assert error.retry_after > 0


@case
def name_bytes(served: Any, limit: int) -> None:
    fits, long = "é" * (limit // 2), "é" * (limit // 2) + "e"
    for path, changes in {
        "name": lambda name: {"name": name},
        "queue": lambda name: {"queue": name},
        "task_key": lambda name: {"task_key": name},
        "encoding": lambda name: {"encoding": name},
        "code.task_name": lambda name: {"code": tp.Code(task_name=name)},
    }.items():
        submit(served, new_run(task(**changes(fits))))
        error = submit_refused(served, new_run(task(**changes(long))))
        assert is_refusal(error, InvalidRequest, limit, f"runs[0].template.{path}")
    named = new_run(name=fits), new_run(name=long)
    submit(served, *named)
    assert served.get(named[0].run_id).name == fits
    assert served.get(named[1].run_id).name == fits + "..."
    for name in (fits, long):
        hello = ap.AgentHello(
            protocol_min=2, protocol_max=2, agent_id="a", session_id=new_id(), name=name, queues=["q"]
        )
        frames = served.agents.Connect(iter([ap.AgentFrame(hello=hello)]), timeout=20)
        if name == fits:
            assert next(frames).HasField("welcome")
        else:
            error = error_of(lambda frames=frames: list(frames))  # type: ignore[misc]
            assert is_refusal(error, InvalidRequest, limit, "hello.name")


@case
def message_bytes(served: Any, limit: int) -> None:
    agent = served.agent("one", {"zone": "a"})
    for message, kept in (("m" * limit, "m" * limit), ("m" * (limit + 1), "m" * limit + "...")):
        [run_id] = served.submit()
        [(epoch, _)] = agent.take(1)
        agent.report(epoch, run_id, b"", kind=ReportKind.FAILED, message=message)
        until(lambda run_id=run_id: served.get(run_id).state == RunState.FAILED)  # type: ignore[misc]
        assert served.get(run_id).message == kept
    agent.close()


@case
def log_bytes(served: Any, limit: int) -> None:
    assert limit == TRACEBACK_LIMIT  # which stands under the same number
    agent = served.agent("one", {"zone": "a"})
    [run_id] = served.submit()
    agent.take(1)
    texts = ["l" * limit, "l" * (limit + 1)]
    agent.log(
        sp.LogBatch(
            run_ids=[run_id] * 2, at_us=[1, 2], levels=[20] * 2, loggers=["l"] * 2, messages=texts,
            run_names=["n"] * 2,
        )
    )  # fmt: skip
    agent.wait_reported()
    page = served.runs.ListRunLogs(run_service_pb2.ListRunLogsRequest(run_id=run_id), timeout=10)
    assert list(page.logs.messages) == [texts[0], texts[0] + "..."]
    agent.close()


@case
def held_runs(served: Any, limit: int) -> None:
    for count in (limit, limit + 1):
        hello = ap.AgentHello(
            protocol_min=2, protocol_max=2, agent_id="a", session_id=new_id(), queues=["q"],
            held=[ap.RunKey(run_id=run_id, epoch=1) for run_id in new_ids(count)],
        )  # fmt: skip
        frames = served.agents.Connect(iter([ap.AgentFrame(hello=hello)]), timeout=20)
        if count == limit:
            assert len(next(frames).welcome.drop) == limit
        else:
            error = error_of(lambda frames=frames: list(frames))  # type: ignore[misc]
            assert is_refusal(error, InvalidRequest, limit, "hello.held")


@case
def page_size(served: Any, limit: int) -> None:
    served.submit(limit + 1)
    for wanted in (limit, limit + 1):
        page = served.runs.ListRuns(run_service_pb2.ListRunsRequest(page_size=wanted), timeout=10)
        assert len(page.runs) == limit
        assert page.next_page_token


@case
def wait_ms(served: Any, limit: int) -> None:
    [run_id] = served.submit()
    for wanted in (limit, 60 * limit):
        began = time.monotonic()
        request = run_service_pb2.WaitRunRequest(run_id=run_id, timeout_ms=wanted)
        assert served.runs.WaitRun(request, timeout=60 * limit / 1000 - 3).run.state == RunState.READY
        assert time.monotonic() - began >= limit / 1000 * 0.9  # two clocks
    poller = Poller(served)
    poller.greet(protocol_min=2, protocol_max=2)
    began = time.monotonic()
    poller.poll(2, max_runs=0, wait_ms=60_000)
    assert limit / 1000 * 0.9 <= time.monotonic() - began < 8  # a third of the lease are 10 s


@case
def unacked_batches(served: Any, limit: int) -> None:
    owner, go_on = served.plane.owner, threading.Event()
    stream = Stream(served)
    session = owner.shard.roster.sessions[stream.session_id]
    commit = owner._store.commit

    def slow(batch: Any) -> Any:
        assert go_on.wait(60)
        return commit(batch)

    owner._store.commit = slow
    owner._store.small_commits_are_fast = False
    for number in range(1, limit + 1):
        group = sp.RunGroup(template=1, run_ids=[new_id()])
        stream.submit(number, templates=[define()] if number == 1 else [], groups=[group])
    until(lambda: session.unsettled_batches == limit)
    assert session.held_up is None
    stream.submit(limit + 1, groups=[sp.RunGroup(template=1, run_ids=[new_id()])])
    stream.submit(limit + 2, groups=[sp.RunGroup(template=1, run_ids=[new_id()])])
    until(lambda: session.held_up is not None)
    assert session.unsettled_batches == limit + 1
    go_on.set()
    stream.taken(limit + 2)
    stream.close()


def test_a_delay_is_told_in_the_way_all_apis_do(served: Any) -> None:
    from google.protobuf.any_pb2 import Any as Packed
    from google.rpc import error_details_pb2, status_pb2

    from taskyard_contract.transport.rpc_errors import to_status

    error = Overloaded("later", retry_after=1.25, limit=3)
    status = to_status(error)
    [(_, data)] = status.trailing_metadata
    details: list[Packed] = list(status_pb2.Status.FromString(data).details)
    info = error_details_pb2.RetryInfo()
    assert details[1].Unpack(info)
    assert info.retry_delay.ToMilliseconds() == 1_250
    detail = type(to_detail(error))()
    assert details[0].Unpack(detail)
    assert detail == to_detail(error)
    assert (
        len(status_pb2.Status.FromString(to_status(InvalidRequest("no")).trailing_metadata[0][1]).details)
        == 1
    )
