"""The agent's command line and its words for people."""

import signal
from pathlib import Path

import pytest

from taskyard_agent.cli import parse
from taskyard_agent.processes.terminating import describe_exit


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TASKYARD_HOME", str(tmp_path))


def test_defaults_serve_the_default_queue() -> None:
    settings = parse(["--server", "localhost:4700"])
    assert settings.queues == ("default",)
    assert settings.slots >= 1
    assert settings.name


def test_everything_can_be_said() -> None:
    line = "--server unix:/s --slots 3 --queue a --queue b --queue a --name n --label gpu=a100 --label zone="
    settings = parse([*line.split(), "--preload", "json", "--grace", "2", "--max-waiting", "7"])
    assert (settings.server, settings.slots, settings.queues) == ("unix:/s", 3, ("a", "b"))
    assert settings.labels == {"gpu": "a100", "zone": ""}
    assert (settings.preload, settings.grace, settings.max_waiting) == (("json",), 2.0, 7)
    assert settings.agent_id.endswith("/n")


def test_a_name_becomes_a_harmless_directory() -> None:
    settings = parse(["--server", "s", "--name", "../../etc"])
    assert settings.blob_dir.parent.name == "_.._etc"
    assert parse(["--server", "s", "--name", ".."]).blob_dir.parent.name == "agent"


@pytest.mark.parametrize(
    ("options", "text"),
    [
        (["--slots", "0"], "number of slots"),
        (["--label", "x"], "KEY=VALUE"),
        (["--max-waiting", "none"], "number of runs"),
        (["--max-waiting", "1000000000"], "raise the limit ('ulimit -n')"),
        (["--server", "host:http"], "'host:http' is not a server address"),
        ([], ""),
    ],
)
def test_nonsense_is_refused_by_name(
    options: list[str], text: str, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = ["--server", "s", *options] if options else []
    with pytest.raises(SystemExit):
        parse(arguments)
    assert text in capsys.readouterr().err


@pytest.mark.parametrize("home", ["~no-such-user/yard", "/dev/null/yard"])
def test_an_agent_without_a_home_directory_says_what_to_set(
    home: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("TASKYARD_HOME", home)
    with pytest.raises(SystemExit):
        parse(["--server", "s"])
    assert "set TASKYARD_HOME" in capsys.readouterr().err


def test_an_exit_is_described() -> None:
    assert "exit code 3" in describe_exit(3 << 8)
    assert "SIGKILL; if nobody sent that" in describe_exit(signal.SIGKILL)
    assert "SIGSEGV" in describe_exit(signal.SIGSEGV | 0x80)
    assert "zygote" in describe_exit(None)
