"""What gets lost between two calls is asked for again, and nothing happens twice."""

from typing import Any

import pytest
from support.poller import LONG_MS, Poller, answer
from support.polling_agent import completed

from taskyard_api.v1 import admin_service_pb2, run_service_pb2
from taskyard_api.v1 import agent_service_pb2 as pb
from taskyard_contract.errors import (
    StorageUnavailable,
)
from taskyard_controlplane.storage.sqlite.store import SqliteStore


def test_a_lost_response_is_repeated_until_the_next_number(served: Any, poller: Poller) -> None:
    ids = served.submit(2)
    lost = poller.poll(2)
    assert poller.poll(2) == lost
    assert [chunk.run_ids for chunk in lost.chunks] == ids[:1]
    assert len(lost.templates) == 1
    following = poller.poll(3)
    assert ([chunk.run_ids for chunk in following.chunks], len(following.templates)) == (ids[1:], 0)


def test_a_lost_welcome_is_repeated(served: Any, poller: Poller) -> None:
    [run_id] = served.submit()
    assert poller.greet() == poller.greet()
    assert poller.take(2)[1] == run_id
    served.admin.DrainAgent(admin_service_pb2.DrainAgentRequest(agent_id="id-poller"), timeout=10)
    lost = poller.greet(3)
    assert lost.drain
    assert poller.greet(3) == lost


def test_a_hello_in_place_of_a_poll_begins_anew(served: Any, poller: Poller) -> None:
    [run_id] = served.submit()
    epoch, _ = poller.take(2)
    key = pb.RunKey(run_id=run_id, epoch=epoch)
    answer = poller.greet(2, held=[key])
    assert (answer.HasField("welcome"), len(answer.welcome.drop)) == (True, 0)


def test_a_call_that_broke_while_it_waited_is_found_again(served: Any, poller: Poller) -> None:
    broken = poller.begin(2, wait_ms=LONG_MS)
    poller.until_waiting()
    broken.cancel()
    [run_id] = served.submit()
    assert poller.take(2)[1] == run_id
    assert poller.take(2)[1] == run_id


def test_a_repeat_joins_the_call_that_waits_and_updates_it(served: Any, poller: Poller) -> None:
    [run_id] = served.submit()
    first = poller.begin(2, max_runs=0, wait_ms=LONG_MS)
    poller.until_waiting()
    assert not first.done()
    second = poller.poll(2, max_runs=1, wait_ms=LONG_MS)
    assert [chunk.run_ids for chunk in second.chunks] == [run_id]
    assert answer(first) == second


@pytest.mark.parametrize("hello", [False, True])
def test_what_follows_ends_the_call_that_waits_with_nothing(served: Any, poller: Poller, hello: bool) -> None:
    first = poller.begin(2, wait_ms=LONG_MS)
    poller.until_waiting()
    fields: dict[str, Any] = {"hello": poller.hello()} if hello else {}
    second = poller.begin(3, wait_ms=LONG_MS, **fields)
    assert answer(first) == pb.PollResponse()
    [run_id] = served.submit()
    if hello:
        assert answer(second).HasField("welcome")
        assert poller.take(4)[1] == run_id
    else:
        assert answer(second).chunks[0].run_ids == run_id


def test_a_lost_acknowledgement_is_repeated(served: Any, poller: Poller) -> None:
    [run_id] = served.submit()
    epoch, _ = poller.take(2)
    logs = {"run_ids": [run_id], "at_us": [1], "levels": [20], "loggers": ["log"], "messages": ["once"]}
    batch: dict[str, Any] = {"logs": {**logs, "run_names": [""]}}
    assert poller.report(1, completed(epoch, run_id), **batch) == 1
    assert served.get(run_id, include_result=True).result.data == b"done"  # acknowledged is durable
    assert poller.report(1, completed(epoch, run_id, b"other"), **batch) == 1
    assert served.get(run_id, include_result=True).result.data == b"done"
    listed = served.runs.ListRunLogs(run_service_pb2.ListRunLogsRequest(run_id=run_id), timeout=10)
    assert list(listed.logs.messages) == ["once"]


def test_reports_are_acknowledged_when_the_database_answers_again(
    served: Any, poller: Poller, monkeypatch: pytest.MonkeyPatch
) -> None:
    [run_id] = served.submit()
    epoch, _ = poller.take(2)

    def refuse(store: Any, batch: Any) -> Any:
        raise StorageUnavailable("out of order")

    with monkeypatch.context() as patch:
        patch.setattr(SqliteStore, "commit", refuse)
        with pytest.raises(StorageUnavailable) as caught:
            poller.report(1, completed(epoch, run_id), timeout=1)
        assert caught.value.retry_after > 0
        assert poller.poll(3, draining=True) == pb.PollResponse()
    assert poller.report(1, completed(epoch, run_id)) == 1
    assert poller.poll(4, draining=True) == pb.PollResponse(drained=True, reported_up_to=1)
    assert served.get(run_id, include_result=True).result.data == b"done"
