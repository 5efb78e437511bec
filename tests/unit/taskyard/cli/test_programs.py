import re
import sys
from collections.abc import Iterator
from typing import Any

import pytest
from typer.main import get_command

from taskyard.cli import programs
from taskyard.cli.app import app
from taskyard_contract.versions import VERSION


class Replaced(Exception):
    """Stands for the moment at which the process becomes another program."""


@pytest.fixture
def became(monkeypatch):
    """What the process would have become: arguments and environment."""
    seen = {}

    def execve(path, command, environment):
        seen.update(path=path, arguments=command[1:], environment=environment)
        raise Replaced

    monkeypatch.setattr(programs.os, "execve", execve)
    return seen


def test_server_start_becomes_the_control_plane(bare_call, became):
    arguments = (
        "--listen",
        "0.0.0.0:4700",
        "--http",
        "0.0.0.0:4701",
        "--agent-lease",
        "5",
        "--session-lease",
        "6",
    )
    with pytest.raises(Replaced):
        bare_call("server", "start", *arguments, "--database", "sqlite:////data/t.db")
    assert became["path"] == sys.executable
    assert became["arguments"][:3] == ["-m", "taskyard_controlplane", "serve"]
    given = became["arguments"][3:]
    assert dict(zip(given[::2], given[1::2], strict=True)) == {
        "--listen": "0.0.0.0:4700",
        "--http": "0.0.0.0:4701",
        "--agent-lease": "5.0",
        "--session-lease": "6.0",
    }
    assert became["environment"]["TASKYARD_DATABASE"] == "sqlite:////data/t.db"


def test_a_password_does_not_get_into_the_process_list(bare_call, became):
    with pytest.raises(Replaced):
        bare_call("server", "start", "--database", "postgresql://me:secret@db/taskyard")
    assert "secret" not in " ".join(became["arguments"])


def test_the_place_of_blobs_is_handed_on(bare_call, became, monkeypatch):
    monkeypatch.setenv("TASKYARD_BLOBS", "s3://bucket/there")
    with pytest.raises(Replaced):
        bare_call("server", "start", "--database", "sqlite:////data/t.db")
    assert became["arguments"][-2:] == ["--blobs", "s3://bucket/there"]


def test_without_a_database_the_server_has_one_at_home(bare_call, became, monkeypatch, tmp_path):
    monkeypatch.setenv("TASKYARD_HOME", str(tmp_path / "new"))
    with pytest.raises(Replaced):
        bare_call("server", "start")
    assert became["arguments"] == ["-m", "taskyard_controlplane", "serve", "--http", "127.0.0.1:4701"]
    assert became["environment"]["TASKYARD_DATABASE"] == f"sqlite:///{tmp_path / 'new' / 'server.db'}"
    assert (tmp_path / "new").is_dir()


def test_a_server_elsewhere_serves_no_http_unasked(bare_call, became):
    with pytest.raises(Replaced):
        bare_call("server", "start", "--listen", "127.0.0.1:0")
    assert became["arguments"][3:] == ["--listen", "127.0.0.1:0"]


def test_agent_start_becomes_the_agent(bare_call, became):
    arguments = (
        "--server",
        "h:1",
        "--slots",
        "3",
        "--queue",
        "a",
        "--queue",
        "b",
        "--name",
        "me",
        "--label",
        "x=1",
    )
    with pytest.raises(Replaced):
        bare_call("agent", "start", *arguments)
    assert became["arguments"] == [
        *("-m", "taskyard_agent", "--server", "h:1", "--slots", "3"),
        *("--name", "me", "--coroutines", "100", "--queue", "a", "--queue", "b", "--label", "x=1"),
    ]


@pytest.mark.parametrize("label", ["gpu", "=a100", ""])
def test_a_label_without_name_or_value_is_refused_before_an_agent_starts(bare_call, became, label):
    called = bare_call("agent", "start", "--server", "h:1", "--label", label)
    assert called.code == 2
    assert f"'{label}' is not a label; give NAME=VALUE" in called.err
    assert became == {}


@pytest.mark.parametrize(
    ("command", "absent", "extra"),
    [
        (("server", "start"), "sqlalchemy", "server"),
        (("server", "start", "--database", "postgresql://db/t"), "psycopg", "postgres"),
        (("agent", "start", "--server", "h:1"), "taskyard_agent", "agent"),
        (("dev",), "alembic", "server"),
    ],
)
def test_a_missing_package_names_the_extra_and_is_4(bare_call, became, monkeypatch, command, absent, extra):
    monkeypatch.setitem(sys.modules, absent, None)
    called = bare_call(*command)
    assert called.code == 4
    assert f"needs {absent}, which is not installed" in called.err
    assert f"pip install 'taskyard[{extra}]'" in called.err
    assert became == {}


def test_version(bare_call):
    assert bare_call("version").out.startswith(f"taskyard {VERSION} ")
    assert bare_call("version", "--json").document["version"] == VERSION


def test_the_version_is_an_option_too(bare_call):
    assert bare_call("--version").out == bare_call("version").out


def words(group: Any, path: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    """Yield the words of all commands and groups."""
    yield path
    for name, command in getattr(group, "commands", {}).items():
        yield from words(command, (*path, name))


COMMANDS = list(words(get_command(app)))


@pytest.mark.parametrize("command", COMMANDS)
def test_help_says_what_people_need_and_no_types(bare_call, command):
    called = bare_call(*command, "--help")
    text = " ".join(called.out.split())
    assert called.code == 0
    assert "Show this message and exit." in text
    assert not re.search(r"<\w+( range)?>|<(list|int|bool|str|float)\b|\[x>=|BOOLEAN|INTEGER", text)
    assert ("3 no server could be reached" in text) == (command == ()), "exit codes are in one place"


@pytest.mark.parametrize(
    "arguments", [("run", "ls", "--limit", "0"), ("agent", "start", "--slots", "0"), ("dev", "--slots", "-1")]
)
def test_numbers_that_are_too_small_are_refused(bare_call, became, arguments):
    called = bare_call(*arguments)
    assert called.code == 2
    assert "is too small; give 1 or more" in called.err
    assert became == {}


def test_no_command_is_wrong_usage(bare_call):
    assert bare_call().code == 2
    assert bare_call("walk").code == 2
