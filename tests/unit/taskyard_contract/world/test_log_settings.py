"""Workers want the log records that their program wants."""

import logging
from collections.abc import Callable, Iterator

import pytest

from taskyard_contract.world import log_settings


@pytest.fixture(autouse=True)
def restored() -> Iterator[None]:
    root = logging.root
    before = root.level, root.manager.disable, list(root.handlers)
    yield
    root.setLevel(before[0])
    logging.disable(before[1])
    root.handlers[:] = before[2]
    for name in ("settings.loud", "settings.off", "seen.here", "seen.new.one"):
        logging.getLogger(name).setLevel(logging.NOTSET)
        logging.getLogger(name).disabled = False


def test_levels_are_taken_over_and_taken_back() -> None:
    loud = logging.getLogger("settings.loud")
    log_settings.take([logging.DEBUG, 0, {"settings.loud": logging.ERROR}, [], False])
    assert (logging.root.level, loud.level) == (logging.DEBUG, logging.ERROR)
    log_settings.take([logging.INFO, logging.INFO, {}, [], False])
    assert (logging.root.level, loud.level) == (logging.INFO, logging.NOTSET)
    assert not loud.isEnabledFor(logging.INFO)
    assert loud.isEnabledFor(logging.WARNING)


def test_what_is_taken_is_what_there_is() -> None:
    logging.getLogger("settings.loud").setLevel(5)
    logging.getLogger("settings.off").disabled = True
    logging.disable(logging.DEBUG)
    there = log_settings.current()
    assert there[2]["settings.loud"] == 5
    assert "settings.off" in there[3]
    logging.disable(0)
    logging.getLogger("settings.off").disabled = False
    log_settings.take(there)
    assert log_settings.current() == there


def test_a_worker_stands_for_handlers_only_where_its_program_has_some(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    logging.root.handlers.clear()
    standing = logging.NullHandler()
    monkeypatch.setattr(log_settings, "shown_elsewhere", standing)
    for has_handlers in (True, True, False, True):
        log_settings.take([30, 0, {}, [], has_handlers])
        assert logging.root.handlers == ([standing] if has_handlers else [])


def test_so_many_loggers_are_not_all_said() -> None:
    made = [logging.getLogger(f"settings.many{number}") for number in range(log_settings.MOST_LOGGERS + 10)]
    for one in made:
        one.setLevel(logging.INFO)
    try:
        assert len(log_settings.current()[2]) == log_settings.MOST_LOGGERS
    finally:
        for one in made:
            one.setLevel(logging.NOTSET)


@pytest.mark.parametrize(
    "change",
    [
        lambda: logging.getLogger("seen.here").setLevel(logging.ERROR),
        lambda: logging.getLogger("seen.new.one").setLevel(logging.ERROR),
        lambda: setattr(logging.getLogger("seen.here"), "disabled", True),
        lambda: logging.root.setLevel(logging.CRITICAL - 1),
        lambda: logging.disable(logging.DEBUG - 1),
        lambda: logging.root.addHandler(logging.NullHandler()),
    ],
    ids=["level", "level of a new one", "off", "level of the root", "all off", "handler"],
)
def test_whatever_is_set_is_noticed(change: Callable[[], object]) -> None:
    logging.getLogger("seen.here")
    logging.root.handlers.clear()
    seen = log_settings.Seen()
    assert seen.hold()
    change()
    assert not seen.hold()


def test_loggers_that_come_and_set_nothing_change_nothing() -> None:
    seen = log_settings.Seen()
    for number in range(3):
        one = logging.getLogger(f"seen.plain.{seen!r}.{number}")
        assert seen.hold()
    one.setLevel(logging.ERROR)
    assert not seen.hold()
    one.setLevel(logging.NOTSET)
    assert seen.hold()
    logging.getLogger("seen.here").setLevel(logging.ERROR)
    logging.getLogger(f"seen.plain.{seen!r}.more")
    assert [seen.hold(), seen.hold()] == [False, False], "for all that ask, not only the first one"
