import socket

import pytest
from support.fake_services import FakeServices, make_run, serving

from taskyard.cli.exits import CliError, ExitCode
from taskyard.cli.server_option import address_of


@pytest.fixture
def home(monkeypatch, tmp_path):
    monkeypatch.setenv("TASKYARD_HOME", str(tmp_path))
    return tmp_path


def test_the_option_wins_over_the_environment(call):
    with serving(FakeServices(runs=[make_run(1, name="other")])) as address:
        assert "other" in call("run", "ls", "--server", address).out


def test_without_an_address_the_local_yard_is_meant(home):
    (home / "taskyard.db").touch()
    with socket.socket(socket.AF_UNIX) as yard:
        yard.bind(str(home / "yard.sock"))
        yard.listen()
        assert address_of("") == f"unix:{home / 'yard.sock'}"


def test_no_local_yard_says_what_to_do_and_is_3(home, bare_call):
    called = bare_call("run", "ls")
    assert called.code == 3
    assert f"there is no local yard in {home}" in called.err
    assert "taskyard dev" in called.err
    assert "TASKYARD_SERVER" in called.err


@pytest.mark.parametrize(
    "command", [("run", "ls"), ("server", "start"), ("dev",), ("dev", "--home", "~no-such-user/yard")]
)
def test_no_home_directory_says_what_to_set_and_is_2(monkeypatch, bare_call, command):
    monkeypatch.setenv("TASKYARD_HOME", "~no-such-user/yard")
    called = bare_call(*command)
    assert called.code == 2
    assert called.err.startswith("taskyard: '~no-such-user/yard' means nothing")
    assert "set TASKYARD_HOME" in called.err


def test_a_home_that_cannot_be_made_says_what_to_set_and_is_2(home, monkeypatch, bare_call):
    (home / "file").touch()
    monkeypatch.setenv("TASKYARD_HOME", str(home / "file" / "yard"))
    called = bare_call("server", "start")
    assert called.code == 2
    assert called.err.startswith(
        f"taskyard: the directory {home / 'file' / 'yard'} cannot be made (Not a dir"
    )
    assert "set TASKYARD_HOME" in called.err


def test_a_yard_that_does_not_start_is_3(home, bare_call):
    (home / "taskyard.db").touch()
    (home / "yard.log").mkdir()
    called = bare_call("agent", "ls")
    assert called.code == 3
    assert f"the local yard cannot use its directory {home}" in called.err


def test_a_dead_socket_is_3(home, bare_call):
    with socket.socket(socket.AF_UNIX) as dead:
        dead.bind(str(home / "other.sock"))
    called = bare_call("agent", "ls", "--server", f"unix:{home / 'other.sock'}")
    assert called.code == 3
    assert "taskyard: unix:" in called.err
    assert called.err.count("could not be reached") == 1


def test_nobody_at_the_port_is_3(bare_call):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{free.getsockname()[1]}"
    called = bare_call("run", "show", "add-1", "--server", address)
    assert called.code == 3
    assert f"taskyard: {address}: the control plane could not be reached (" in called.err
    assert "is a server running at this address?" in called.err


def test_a_malformed_address_is_2(bare_call):
    called = bare_call("run", "ls", "--server", "localhost:http")
    assert called.code == 2
    assert "'localhost:http' is not a server address" in called.err


def test_errors_carry_their_code():
    assert CliError("no").code is ExitCode.FAILED
