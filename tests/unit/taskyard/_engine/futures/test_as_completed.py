"""`as_completed` gives the slot away while it waits, and only then."""

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from support.loopback import LoopbackSession

from taskyard import as_completed, task
from taskyard._engine.submission.submitting import submit_one
from taskyard.futures import Future
from taskyard_contract.id_factory import new_id


@task
def double(x: int) -> int:
    return 2 * x


class CountingHost:
    def __init__(self) -> None:
        self.times = 0

    @contextmanager
    def blocked(self) -> Iterator[None]:
        self.times += 1
        yield


class CountingScope:
    """A scope that counts how often it is asked for its host."""

    asked = 0

    def __init__(self, host: Any) -> None:
        self._host = host

    @property
    def host(self) -> Any:
        self.asked += 1
        return self._host


def test_as_completed_gives_the_slot_to_what_it_waits_for(session: LoopbackSession) -> None:
    session.script.execute = False
    host = CountingHost()
    scope = session.scope(host=host)
    future = submit_one(double, scope, (1,), {})
    with pytest.raises(TimeoutError):
        list(as_completed([future], timeout=0.05))
    assert host.times == 1


def test_as_completed_is_not_quadratic() -> None:
    scope = CountingScope(None)
    futures: list[Future[int]] = [Future(new_id(), scope) for _ in range(300)]  # type: ignore[arg-type]
    arriving = as_completed(futures)
    threading.Timer(0.05, lambda: [future.settle(b"") for future in futures]).start()
    assert len(list(arriving)) == 300
    assert scope.asked <= 10 * 300, f"{scope.asked} times for 300 futures"


def test_as_completed_gives_way_only_when_it_waits() -> None:
    host = CountingHost()
    futures: list[Future[int]] = [Future(new_id(), CountingScope(host)) for _ in range(50)]  # type: ignore[arg-type]
    arriving = as_completed(futures)
    threading.Timer(0.05, lambda: [future.settle(b"") for future in futures]).start()
    next(arriving)
    while not all(future.done() for future in futures):
        time.sleep(0.01)
    before = host.times
    assert len(list(arriving)) == 49
    assert host.times == before
