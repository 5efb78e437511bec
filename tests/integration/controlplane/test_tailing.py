"""TailRunLogs over real gRPC: every record once, in order, and complete exactly when no more can come."""

import threading
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from support.following import Tailing
from support.log_batches import log_batch

from taskyard_api.v1 import run_service_pb2 as pb
from taskyard_api.v1 import session_service_pb2 as sp
from taskyard_api.v1 import states_pb2, template_pb2
from taskyard_contract.errors import InvalidRequest, Overloaded, RunNotFound, ServerStopping, TaskyardError
from taskyard_contract.id_factory import new_id, new_ids
from taskyard_controlplane.reading.runs import RunReader
from taskyard_controlplane.settings import PeerSettings

Tail = Callable[..., Tailing]


@pytest.fixture
def tail() -> Iterator[Tail]:
    """Follow logs; the calls end with the test."""
    open_: list[Tailing] = []

    def begin(served: Any, run_id: bytes, token: str = "") -> Tailing:
        open_.append(Tailing(served.runs, run_id, token))
        return open_[-1]

    yield begin
    for each in open_:
        each.close()


def refused(tailing: Tailing) -> TaskyardError:
    with pytest.raises(TaskyardError) as caught:
        tailing.to_the_end()
    return caught.value


def all_of(tailing: Tailing) -> list[str]:
    """Return all that comes until it is complete."""
    tailing.to_the_end()
    return tailing.texts


def test_a_log_is_followed_until_its_run_has_ended(on_either: Any, connect_agent: Any, tail: Tail) -> None:
    served, agent = on_either, connect_agent(on_either)
    [run_id] = served.submit()
    [(epoch, _)] = agent.take(1)
    agent.log(log_batch(run_id, "first"))
    tailing = tail(served, run_id)
    tailing.until(lambda: tailing.texts == ["first"])
    agent.log(log_batch(run_id, "second", "third"))
    tailing.until(lambda: len(tailing.texts) == 3)
    assert not tailing.complete
    agent.log(log_batch(run_id, "last"))
    agent.report(epoch, run_id, b"3")
    assert all_of(tailing) == ["first", "second", "third", "last"]
    assert tailing.complete


def test_records_that_come_while_the_end_is_being_recorded_are_not_lost(
    served: Any, agent: Any, tail: Tail, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The end is on its way to the disk; what comes until it is there is recorded with the next commit."""
    [run_id] = served.submit()
    [(epoch, _)] = agent.take(1)
    tailing = tail(served, run_id)
    shard = served.plane.owner.shard
    written, let_go = threading.Event(), threading.Event()
    commit = shard.committer._store.commit

    def slowly(batch: Any) -> Any:
        result = commit(batch)
        if batch.ended:
            written.set()  # anybody who reads finds it ended
            assert let_go.wait(20)
        return result

    monkeypatch.setattr(shard.committer._store, "commit", slowly)
    monkeypatch.setattr("taskyard_controlplane.owner.journal.commit.SMALL_ROWS", -1)  # on a thread of its own
    agent.report(epoch, run_id, b"3")
    assert written.wait(20)
    second = tail(served, run_id)  # sees the end, and has to wait for what was accepted beside it
    before = shard.logs.numbers.last
    agent.log(log_batch(run_id, "at the last moment"))
    while shard.logs.numbers.last == before:
        served.get(run_id)
    let_go.set()
    assert all_of(tailing) == all_of(second) == ["at the last moment"]


def test_the_log_of_a_run_that_ended_is_complete_at_once(
    on_either: Any, connect_agent: Any, tail: Tail
) -> None:
    served, agent = on_either, connect_agent(on_either)
    [run_id] = served.submit()
    [(epoch, _)] = agent.take(1)
    agent.log(log_batch(run_id, *map(str, range(2_500))))
    agent.report(epoch, run_id, b"3")
    agent.wait_reported()
    tailing = tail(served, run_id)
    assert all_of(tailing) == list(map(str, range(2_500)))
    assert len(tailing.messages) > 3, "in messages that every client takes"
    rest = tail(served, run_id, tailing.messages[0].next_page_token)
    assert all_of(rest) == tailing.texts[len(tailing.messages[0].logs.messages) :]


def test_a_run_that_logs_nothing_is_complete_without_a_token(served: Any, agent: Any, tail: Tail) -> None:
    [run_id] = served.submit()
    tailing = tail(served, run_id)
    [(epoch, _)] = agent.take(1)
    agent.report(epoch, run_id, b"3")
    assert all_of(tailing) == []
    assert (tailing.complete, tailing.token) == (True, "")


def test_it_goes_on_from_the_token_of_a_page(served: Any, agent: Any, tail: Tail) -> None:
    [run_id] = served.submit()
    [(epoch, _)] = agent.take(1)
    agent.log(log_batch(run_id, "a", "b", "c"))
    agent.wait_reported()
    page = served.runs.ListRunLogs(pb.ListRunLogsRequest(run_id=run_id, page_size=2), timeout=10)
    tailing = tail(served, run_id, page.next_page_token)
    tailing.until(lambda: tailing.texts == ["c"])
    agent.report(epoch, run_id, b"3")
    assert all_of(tailing) == ["c"]


def test_a_flow_run_is_complete_when_all_inside_it_is(on_either: Any, connect_agent: Any, tail: Tail) -> None:
    served = on_either
    flow, inside = new_id(), new_ids(2)
    stream = served.session(
        sp.ClientFrame(
            submit=sp.SubmitBatch(
                number=1,
                templates=[
                    _definition(1, states_pb2.RUN_KIND_FLOW),
                    _definition(2, states_pb2.RUN_KIND_TASK),
                ],
                groups=[
                    sp.RunGroup(template=1, run_ids=[flow], args=[b""]),
                    sp.RunGroup(template=2, run_ids=inside, flow_run_id=flow, args=[b""] * 2),
                ],
            )
        )
    )
    next(stream)
    agent = connect_agent(served)
    [(epoch, first), (_, second)] = agent.take(2)
    tailing = tail(served, flow)
    agent.log(log_batch(first, "inside"))
    tailing.until(lambda: tailing.texts == ["inside"])
    served.runs.CancelRun(pb.CancelRunRequest(run_id=flow), timeout=10)
    # Its body never began, so the flow run has ended; what agents hold goes on until they say that it ended.
    ended = served.runs.WaitRun(pb.WaitRunRequest(run_id=flow, timeout_ms=10_000), timeout=15).run
    assert ended.ended_us
    agent.log(log_batch(first, "while it ends"))
    tailing.until(lambda: tailing.texts == ["inside", "while it ends"])
    agent.report(epoch, first, b"3")
    agent.log(log_batch(second, "last"))
    tailing.until(lambda: len(tailing.texts) == 3)
    assert not tailing.complete
    agent.report(epoch + 1, second, b"3")
    assert all_of(tailing) == ["inside", "while it ends", "last"]
    assert not served.plane.owner.tails.waiting


def _definition(index: int, kind: Any) -> template_pb2.TemplateDefinition:
    template = template_pb2.RunTemplate(
        kind=kind, name="inside", queue="default", encoding="json/plain",
        code=template_pb2.Code(task_name="inside"),
    )  # fmt: skip
    return template_pb2.TemplateDefinition(index=index, template=template)


def test_nothing_is_read_while_nothing_happens(
    served: Any, agent: Any, tail: Tail, monkeypatch: pytest.MonkeyPatch
) -> None:
    [run_id] = served.submit()
    agent.take(1)
    monkeypatch.setattr("taskyard_controlplane.rpc.tailing.QUIET_SECONDS", 0.02)
    tailing = tail(served, run_id)
    tailing.next()
    reads: list[bytes] = []
    found = RunReader._find

    async def noting(self: RunReader, wanted: bytes) -> Any:
        reads.append(wanted)
        return await found(self, wanted)

    monkeypatch.setattr(RunReader, "_find", noting)
    served.submit()  # others are none of its business
    for _ in range(5):
        assert not tailing.next().complete, "a sign of life"
    assert reads == []
    agent.log(log_batch(run_id, "something"))
    tailing.until(lambda: tailing.texts == ["something"])
    assert set(reads) == {run_id}


def test_there_has_to_be_a_run_and_a_token_of_it(served: Any, tail: Tail) -> None:
    [run_id] = served.submit()
    assert isinstance(refused(tail(served, new_id())), RunNotFound)
    assert isinstance(refused(tail(served, b"short")), InvalidRequest)
    assert isinstance(refused(tail(served, run_id, "nonsense")), InvalidRequest)


def test_a_server_that_stops_ends_it_with_a_reason(serve: Any, tail: Tail) -> None:
    served = serve()
    [run_id] = served.submit()
    tailing = tail(served, run_id)
    while not served.plane.owner.tails.waiting:
        served.get(run_id)
    served._run(served.plane.stop())
    assert isinstance(refused(tailing), ServerStopping)


def test_there_is_room_for_so_many_and_no_more(serve: Any, tail: Tail) -> None:
    served = serve(peers=PeerSettings(max_followers_per_address=1))
    [run_id] = served.submit()
    tail(served, run_id)
    while not served.plane.owner.tails.waiting:
        served.get(run_id)
    assert isinstance(refused(tail(served, run_id)), Overloaded)
