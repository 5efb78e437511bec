"""Futures inside values that stay in the process."""

from collections import OrderedDict, defaultdict, namedtuple
from dataclasses import InitVar, dataclass, field
from typing import Any

from pydantic import BaseModel
from support.loopback import LoopbackSession

from taskyard._engine.futures.in_values import futures_in, replaced, without_futures
from taskyard.futures import Future, FutureList
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


@dataclass(frozen=True, slots=True)
class Built:
    content: Any
    scale: InitVar[int]
    made: Any = field(init=False, default=None)

    def __post_init__(self, scale: int) -> None:
        object.__setattr__(self, "made", [self.content] * scale)


class Numbered(list[Any]):
    number = 0


def test_containers_stay_what_they_are(session: LoopbackSession) -> None:
    future = future_of(session)
    numbered = Numbered([future])
    numbered.number = 7
    value = [defaultdict(list, k=future), OrderedDict(k=future), numbered, FutureList([future])]
    new = replaced(value, by_name)
    assert new == [defaultdict(list, k="value"), OrderedDict(k="value"), ["value"], ["value"]]
    assert [type(one) for one in new] == [defaultdict, OrderedDict, Numbered, list]
    assert (new[0].default_factory, new[2].number) == (list, 7)
    assert numbered == [future], "the caller's own value is not changed"


def test_dataclasses_are_not_made_anew(session: LoopbackSession) -> None:
    new = replaced(Built(future_of(session), 2), by_name)
    assert (new.content, new.made) == ("value", ["value", "value"])


def test_what_holds_itself_is_entered_once(session: LoopbackSession) -> None:
    future = future_of(session)
    ring: list[Any] = [1]
    ring.append({"ring": ring})
    node = Box([])
    node.content.append(Box(node))
    assert replaced([ring, node], by_name)[0] is ring
    assert without_futures(node, lambda _: "value") is node
    assert futures_in([ring, future, node]) == {future: UpstreamKind.DATA}
    assert replaced([ring, ring, future], by_name) == [ring, ring, "value"]
