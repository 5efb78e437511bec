"""The local yard from the client's side: started once, found again, explained when it does not start."""

import os
import signal
import stat
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from support.plane_and_agent import end_sessions

from taskyard import flow, get_client, settings, task
from taskyard._network.server.local_yard import ensure_yard
from taskyard.blocks.system import Secret
from taskyard.exceptions import ConnectionFailed
from taskyard.variables import Variable


@task
def double(x: int) -> int:
    return 2 * x


@task
def slowly(x: int) -> int:
    time.sleep(0.02)
    return x


@pytest.fixture
def home(tmp_path: Path) -> Iterator[Path]:
    os.environ["TASKYARD_HOME"] = str(tmp_path / "home")
    yield tmp_path / "home"
    end_sessions()
    stop(tmp_path / "home", signal.SIGTERM)


def stop(home: Path, number: int) -> None:
    """End the yard and wait until it is gone."""
    pid_file = home / "yard.pid"
    if not pid_file.exists():
        return
    pid = int(pid_file.read_text())
    os.kill(pid, number)
    for _ in range(1500):
        try:
            os.waitpid(pid, os.WNOHANG)
            os.kill(pid, 0)
        except (ChildProcessError, ProcessLookupError):
            return
        time.sleep(0.02)
    raise AssertionError("the yard does not end")


def fake_python(path: Path, script: str) -> str:
    """An interpreter that does something else."""
    path.write_text(f"#!/bin/sh\n{script}\n")
    path.chmod(path.stat().st_mode | stat.S_IXUSR)
    return str(path)


def test_programs_that_start_together_share_one_yard(home: Path) -> None:
    found: list[str] = []
    threads = [threading.Thread(target=lambda: found.append(ensure_yard())) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == [f"unix:{home}/yard.sock"] * 3
    assert (home / "yard.log").read_text().count("yard ready") <= 1


def test_without_a_server_the_first_call_starts_a_yard_that_may_be_killed(home: Path) -> None:
    @flow
    def main() -> int:
        before = double(4)
        futures = slowly.map(range(20))
        stop(home, signal.SIGKILL)
        return before + sum(futures.result(40))

    assert main() == 8 + sum(range(20))


def test_a_client_goes_on_with_a_yard_that_was_started_again(home: Path) -> None:
    with get_client(sync_client=True) as client:
        run_id = double.delay(4).task_run_id
        assert client.read_task_run(run_id).name == "double"
        end_sessions()
        stop(home, signal.SIGKILL)
        assert client.read_task_run(run_id).name == "double"
        assert client.api_healthcheck() is None


def test_a_yard_that_does_not_start_says_why(
    home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    broken = fake_python(tmp_path / "python", "echo 'No module named taskyard_controlplane' >&2; exit 3")
    monkeypatch.setattr(sys, "executable", broken)
    with pytest.raises(ConnectionFailed, match=r"(?s)exit code 3.*No module named taskyard_controlplane"):
        double(1)


def test_a_yard_that_lacks_its_extra_says_what_to_install(
    home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # The interpreter that the yard is started with imports this before all else.
    (tmp_path / "sitecustomize.py").write_text("import sys\nsys.modules['sqlalchemy'] = None\n")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    with pytest.raises(ConnectionFailed) as caught:
        double(1)
    last = str(caught.value).splitlines()[-1].strip()
    assert last.startswith("taskyard: the local yard needs sqlalchemy, which is not installed; ")
    assert "pip install 'taskyard[server]', or in a checkout of it: " in last


def test_a_yard_that_never_listens_is_given_up(
    home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("taskyard._network.server.local_yard.START_SECONDS", 0.1)
    monkeypatch.setattr(sys, "executable", fake_python(tmp_path / "python", "exec sleep 1"))
    with pytest.raises(ConnectionFailed, match=r"(?s)not answer within 0\.1 seconds.*\(it wrote nothing"):
        ensure_yard()


def test_a_home_that_is_too_deep_for_a_socket_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TASKYARD_HOME", "/tmp/" + "x" * 120)
    with pytest.raises(ConnectionFailed, match="set TASKYARD_HOME to a shorter directory"):
        ensure_yard()


def test_the_home_may_be_chosen(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TASKYARD_HOME", "~/yards/one")
    assert settings.home() == Path.home() / "yards" / "one"
    monkeypatch.delenv("TASKYARD_HOME")
    assert settings.home() == Path.home() / ".taskyard"


def test_variables_and_secrets_start_the_yard_and_are_kept_in_it(home: Path) -> None:
    assert Variable.get("size", 7) == 7
    Variable.set("size", 8)
    Secret(value="hunter2").save("token")
    stop(home, signal.SIGKILL)
    assert Variable.get("size") == 8
    assert Secret.load("token").get() == "hunter2"
    assert stat.S_IMODE((home / "secret.key").stat().st_mode) == 0o600
