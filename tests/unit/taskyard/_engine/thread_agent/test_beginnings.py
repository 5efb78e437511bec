"""Attempts in threads are said to have begun once, and only if they go on."""

from dataclasses import dataclass
from typing import Any

import pytest

from taskyard._engine.thread_agent.beginnings import MOMENT_US, Beginnings
from taskyard_api.v1 import agent_service_pb2 as pb


@dataclass
class Attempt:
    key: pb.RunKey
    began_us: int = 0


@pytest.fixture
def said() -> list[Any]:
    return []


def of_run(run_id: bytes, epoch: int = 1, began_us: int = 0) -> dict[bytes, Attempt]:
    return {run_id: Attempt(pb.RunKey(run_id=run_id, epoch=epoch), began_us)}


def test_of_an_attempt_that_goes_on_it_is_said_once(said: list[Any]) -> None:
    attempts = of_run(b"a", began_us=1)
    beginnings = Beginnings(attempts, lambda key, seconds: said.append((key.run_id, key.epoch, seconds)))
    beginnings.look(MOMENT_US)
    assert said == [], "it may be over in a moment"
    for _ in range(2):
        beginnings.look(MOMENT_US + 1)
    assert said == [(b"a", 1, 0.1)]


def test_what_waits_for_a_thread_has_not_begun(said: list[Any]) -> None:
    Beginnings(of_run(b"a"), lambda key, seconds: said.append(key)).look(10 * MOMENT_US)
    assert said == []


def test_each_attempt_has_its_own_beginning_and_a_new_server_hears_all(said: list[Any]) -> None:
    attempts = of_run(b"a", began_us=1)
    beginnings = Beginnings(attempts, lambda key, seconds: said.append(key.epoch))
    beginnings.look(2 * MOMENT_US)
    attempts.update(of_run(b"a", epoch=2, began_us=1))
    beginnings.look(2 * MOMENT_US)
    beginnings.restate()
    beginnings.look(2 * MOMENT_US)
    assert said == [1, 2, 2]
