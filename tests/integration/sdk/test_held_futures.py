"""What a connected program holds is kept, whatever is removed; what it has let go of is not."""

import gc
import sqlite3
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from support.plane_and_agent import Plane, end_sessions, plane_and_agent
from support.programs import eventually

from taskyard import flow, task
from taskyard._data.values import holds
from taskyard._network.session.sessions import current_session
from taskyard.futures import wait
from taskyard_api.v1 import admin_service_pb2 as pb


@task
def large(number: int) -> bytes:
    return number.to_bytes(4) * 50_000


@pytest.fixture
def fresh_plane(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Plane]:
    """One that was never restarted: after that nothing is removed until programs have come back."""
    end_sessions()
    with plane_and_agent(tmp_path) as plane:
        monkeypatch.setenv("TASKYARD_SERVER", plane.address)
        yield plane
        end_sessions()


def test_a_future_keeps_its_value_and_one_that_is_gone_does_not(
    fresh_plane: Plane, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(holds, "STRETCH_SECONDS", 0.0)
    holds.HOLDS.__init__()  # type: ignore[misc]  # other tests may have left futures in this process
    futures: list[Any] = []

    @flow
    def main(*numbers: int) -> None:
        futures.extend(large.map(numbers))
        wait(futures)

    main(0, 1, 2)
    gone = [future.run_id for future in futures]
    for _ in range(3):
        holds.HOLDS.oldest()
    futures.clear()
    main(3, 4)
    gc.collect()

    def left() -> set[bytes]:
        list(current_session().client().prune(pb.PruneRequest(older_than_ms=0)))
        with sqlite3.connect(fresh_plane.home / "taskyard.db") as database:
            return {run_id for (run_id,) in database.execute("SELECT run_id FROM run")}

    eventually(lambda: not left().intersection(gone), "what was let go of is removed", 60)
    assert left().issuperset(each.run_id for each in futures)
    assert [each.result() for each in futures] == [large.fn(number) for number in range(3, 5)]
