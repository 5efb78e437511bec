"""All programs understand the same words for what is logged."""

import logging
from pathlib import Path

import pytest

from taskyard import settings
from taskyard_agent.cli import parse
from taskyard_contract.programs.log_levels import LOG_LEVEL, UnknownLogLevel, level_of, log_level
from taskyard_controlplane.cli import ExitCode, main


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TASKYARD_HOME", str(tmp_path))


@pytest.mark.parametrize(
    ("word", "level"),
    [("debug", logging.DEBUG), ("WARN", logging.WARNING), ("CRITICAL", logging.CRITICAL), ("5", 5)],
)
def test_a_level_is_a_name_in_any_case_or_a_number(word: str, level: int) -> None:
    assert level_of(word) == level == log_level({LOG_LEVEL: word})


@pytest.mark.parametrize("said", [{}, {LOG_LEVEL: ""}])
def test_who_says_nothing_gets_information(said: dict[str, str]) -> None:
    assert log_level(said) == logging.INFO


@pytest.mark.parametrize("word", ["LOUD", "NOTSET", "0", "-10", "1.5"])
def test_a_word_that_means_nothing_is_refused_by_name(word: str) -> None:
    with pytest.raises(UnknownLogLevel, match=f"^{LOG_LEVEL} is '{word}', which is no log level; give DEBUG"):
        log_level({LOG_LEVEL: word})


@pytest.mark.parametrize("word", ["critical", "15", ""])
def test_the_agent_logs_what_the_sdk_in_its_workers_does(word: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(LOG_LEVEL, word)
    assert parse(["--server", "s"]).log_level == settings.log_level()


def test_no_program_starts_with_what_another_one_refuses(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv(LOG_LEVEL, "LOUD")
    with pytest.raises(UnknownLogLevel):
        settings.log_level()
    with pytest.raises(SystemExit):
        parse(["--server", "s"])
    assert main(["serve", "--database", "sqlite://"]) == ExitCode.USAGE
    assert capsys.readouterr().err.count(f"{LOG_LEVEL} is 'LOUD', which is no log level") == 2


def test_the_option_of_a_server_takes_the_same_words(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["serve", "--log-level", "LOUD"])
    assert ended.value.code == ExitCode.USAGE
    assert "--log-level: 'LOUD' is no log level; give DEBUG" in capsys.readouterr().err
