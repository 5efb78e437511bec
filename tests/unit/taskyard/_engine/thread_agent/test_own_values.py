"""Each run has values of its own, but for those that cannot be copied."""

import threading
from typing import Any

import pytest

from taskyard._engine.thread_agent.own_values import SMALL_BYTES, copied, own, own_call
from taskyard_contract.references import note, resolve

LARGE = bytes(SMALL_BYTES)


class Noting:
    """Stands for a future."""

    def __reduce__(self) -> Any:
        note(b"run")
        return resolve, (b"run",)


class Refusing:
    """Can be written and not be read."""

    def __reduce__(self) -> Any:
        return int, ("no number",)


def test_a_small_value_is_as_it_was_when_it_was_copied() -> None:
    value = [1, [2]]
    copy = copied(value)
    value[1].append(3)  # type: ignore[attr-defined]
    assert own(value, copy) == [1, [2]]
    assert own(value, copy) is not own(value, copy)


def test_a_large_value_is_copied_when_it_is_needed() -> None:
    value = [LARGE]
    assert copied(value) is True
    assert own(value) == value
    assert own(value) is not value


def test_what_cannot_be_copied_is_shared_with_all_that_is_beside_it() -> None:
    value = [[1], threading.Lock()]
    assert copied(value) is False
    assert own(value, False) is value
    assert own(value) is value


def test_a_local_class_and_a_function_without_a_name_are_shared() -> None:
    class Local:
        """Is nowhere to be imported from."""

    assert copied(Local()) is False
    assert copied([lambda: 1]) is False


def test_what_cannot_be_read_again_is_shared() -> None:
    value = [Refusing()]
    assert own(value) is value


@pytest.mark.parametrize("value", ["text", 1, None, 2.5, b"bytes", True])
def test_what_cannot_be_changed_is_not_copied(value: object) -> None:
    assert own(value) is value


def test_a_call_names_its_runs_and_gets_the_value_of_each_once() -> None:
    references: dict[bytes, int] = {}
    data = copied(((Noting(), [Noting()]), {}), references)
    assert isinstance(data, bytes)
    assert set(references) == {b"run"}
    asked: list[bytes] = []

    def value_of(run_id: bytes) -> list[int]:
        asked.append(run_id)
        return [1]

    (first, inside), _ = own_call(data, value_of)
    assert first == [1]
    assert inside[0] is first
    assert asked == [b"run"]


def test_outside_of_calls_a_future_is_shared() -> None:
    assert copied([Noting()]) is False
