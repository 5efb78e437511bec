"""Futures inside values that stay in the process."""

from collections import namedtuple
from dataclasses import dataclass
from typing import Any

from pydantic import BaseModel
from support.loopback import LoopbackSession

from taskyard._engine.futures.in_values import futures_in, replaced
from taskyard.futures import Future
from taskyard.utilities.annotations import allow_failure, opaque, quote, unmapped
from taskyard_contract.id_factory import new_id
from taskyard_contract.states import UpstreamKind

Pair = namedtuple("Pair", "left right")


@dataclass
class Box:
    content: Any


class Model(BaseModel):
    content: Any


def future_of(session: LoopbackSession) -> Future[Any]:
    return Future(new_id(), session.scope())


def by_name(future: Future[Any], kind: int) -> Any:
    return "value"


def test_every_container_is_entered(session: LoopbackSession) -> None:
    future = future_of(session)
    value = [future, (future,), {"k": future}, {future}, Pair(future, 1), Box(future), Model(content=future)]
    new = replaced(value, by_name)
    assert new[:6] == ["value", ("value",), {"k": "value"}, {"value"}, Pair("value", 1), Box("value")]
    assert new[6].content == "value"


def test_what_holds_no_future_stays_the_same_object() -> None:
    value = [1, {"k": Box(object())}, "text"]
    assert replaced(value, by_name) is value


def test_annotations_are_taken_off(session: LoopbackSession) -> None:
    future = future_of(session)
    assert replaced(unmapped([future]), by_name) == ["value"]
    assert replaced(quote([future]), by_name) == [future]
    assert replaced(opaque(future), by_name) == "value"
    assert replaced(opaque([future]), by_name) == [future]


def test_allow_failure_marks_what_is_inside(session: LoopbackSession) -> None:
    future, other = future_of(session), future_of(session)
    found = futures_in([future, allow_failure([future, other])])
    assert found == {future: UpstreamKind.DATA_OR_FAILURE, other: UpstreamKind.DATA_OR_FAILURE}
    assert futures_in([other]) == {other: UpstreamKind.DATA}
