"""Where in a value that is which cannot be pickled."""

import threading
from dataclasses import dataclass
from typing import Any

from taskyard._data.values.culprits import culprit_in


@dataclass
class Box:
    inner: Any


class Slotted:
    __slots__ = ("held", "unset")

    def __init__(self, held: object) -> None:
        self.held = held


LOCK = threading.Lock()


def path(value: object) -> str | None:
    found = culprit_in("result", value)
    if found is None:
        return None
    assert found[1] is LOCK
    return found[0]


def test_a_path_leads_through_mappings_and_attributes() -> None:
    assert path({"fine": 1, "lock": Box(LOCK)}) == "result['lock'].inner"


def test_a_path_leads_through_sequences_and_slots() -> None:
    assert path([1, (2, Slotted(LOCK))]) == "result[1][1].held"


def test_a_value_may_be_the_culprit_itself() -> None:
    assert path(LOCK) == "result"


def test_what_can_be_pickled_has_none() -> None:
    assert path({"a": [1, 2]}) is None


def test_a_value_that_leads_in_circles_is_looked_through_once() -> None:
    circle: list[Any] = []
    circle += [circle, circle, {"x": circle, "lock": LOCK}]
    assert path(circle) == "result[2]['lock']"


def test_a_long_key_is_cut() -> None:
    found = path({"k" * 1000: LOCK})
    assert found is not None
    assert len(found) < 130


def test_one_among_many_is_found() -> None:
    many: list[Any] = [*range(10_000), LOCK]
    assert path(many) == "result[10000]"
