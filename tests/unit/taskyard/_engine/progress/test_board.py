"""Which lines are shown, of how many flow runs, and for whom."""

from typing import Any

import pytest
from support.origins import nowhere

from taskyard import settings
from taskyard._engine.progress import is_wanted
from taskyard._engine.progress.board import MOST_ROWS, QUIET_SECONDS, Board
from taskyard.exceptions import ConfigurationError
from taskyard.logging import terminal


class Open:
    """A flow run that has been waiting for a while."""

    def __init__(self, name: str, waited: float = 2 * QUIET_SECONDS) -> None:
        self.name, self._waited = name, waited
        self.open_since: float | None = 0.0

    def waited(self) -> float:
        return self._waited

    def row(self, width: int, *, colours: bool) -> str:
        return f"{self.name} {width} {colours}"


def rows(count: int) -> list[str]:
    return Board._rows([Open(f"run-{number}") for number in range(count)])  # type: ignore[misc]


@pytest.fixture
def columns(monkeypatch: pytest.MonkeyPatch) -> Any:
    def set_size(columns: int, lines: int = 60) -> None:
        monkeypatch.setattr(terminal, "size", lambda: (columns, lines))

    set_size(80)
    monkeypatch.delenv("NO_COLOR", raising=False)
    return set_size


def test_each_flow_run_has_a_line_that_leaves_the_last_column_free(columns: Any) -> None:
    assert rows(2) == ["run-0 79 True", "run-1 79 True"]


def test_of_many_flow_runs_the_newest_have_one(columns: Any) -> None:
    shown = rows(MOST_ROWS + 3)
    assert shown[:-1] == [f"run-{number} 79 True" for number in range(3, MOST_ROWS + 3)]
    assert shown[-1] == "and 3 more"


def test_a_low_terminal_has_fewer_lines(columns: Any) -> None:
    columns(80, 6)
    assert rows(3) == ["run-1 79 True", "run-2 79 True", "and 1 more"]


def test_a_terminal_that_has_gone_has_none(columns: Any) -> None:
    columns(0, 0)
    assert rows(3) == []


def test_no_color_is_obeyed(columns: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NO_COLOR", "1")
    assert rows(1) == ["run-0 79 False"]


@pytest.mark.parametrize(("waited", "due"), [(0.5, False), (QUIET_SECONDS, True)])
def test_a_flow_run_that_has_just_begun_to_wait_is_not_shown(waited: float, due: bool) -> None:
    one: Any = Open("run", waited)
    assert Board._is_due(one) is due
    one.open_since = None
    assert not Board._is_due(one)


@pytest.mark.parametrize(("word", "wanted"), [("", True), ("on", True), ("off", False), ("OFF", False)])
def test_the_environment_says_whether_it_is_wanted(
    columns: Any, monkeypatch: pytest.MonkeyPatch, word: str, wanted: bool
) -> None:
    monkeypatch.setenv(settings.PROGRESS, word)
    assert is_wanted(nowhere().session) is wanted


def test_any_other_word_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(settings.PROGRESS, "maybe")
    with pytest.raises(ConfigurationError, match="TASKYARD_PROGRESS is 'maybe'; expected on or off"):
        is_wanted(nowhere().session)


def test_workers_show_nothing(columns: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(settings.PROGRESS, raising=False)
    session = nowhere().session
    assert is_wanted(session)
    session.caller_run_id = b"r" * 16
    assert not is_wanted(session)


@pytest.mark.parametrize(
    ("name", "value", "animated"),
    [("TERM", "dumb", False), ("TERM", "", False), ("CI", "true", False), ("CI", "false", True)],
)
def test_somebody_has_to_look(monkeypatch: pytest.MonkeyPatch, name: str, value: str, animated: bool) -> None:
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.delenv("CI", raising=False)
    monkeypatch.setenv(name, value)
    assert settings.has_animated_terminal() is animated
