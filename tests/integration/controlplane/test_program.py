"""The program as a service manager sees it: ready line, signals, exit codes."""

import os
import re
import signal
import socket
import sqlite3
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path

import grpc
import pytest

from taskyard_api.v1 import run_service_pb2, run_service_pb2_grpc, states_pb2, template_pb2
from taskyard_contract.id_factory import new_id

Start = Callable[..., "subprocess.Popen[str]"]


@pytest.fixture
def start() -> Iterator[Start]:
    """Start control planes as processes; they are killed after the test."""
    running = []

    def begin(*arguments: object) -> "subprocess.Popen[str]":
        command = [sys.executable, "-m", "taskyard_controlplane", *map(str, arguments)]
        environment = {**os.environ, "TASKYARD_LOG_LEVEL": "WARNING"}
        running.append(
            subprocess.Popen(
                command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment
            )
        )
        return running[-1]

    yield begin
    for process in running:
        process.kill()
        process.communicate()


def serve(start: Start, tmp_path: Path, *more: object) -> "subprocess.Popen[str]":
    return start("serve", "--listen", "127.0.0.1:0", "--database", f"sqlite:///{tmp_path / 'a.db'}", *more)


def ready(process: "subprocess.Popen[str]") -> str:
    assert process.stdout is not None
    return process.stdout.readline()


def outcome(process: "subprocess.Popen[str]") -> tuple[int, str]:
    _, errors = process.communicate(timeout=20)
    return process.returncode, errors


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_the_server_in_order(start: Start, tmp_path: Path, number: signal.Signals) -> None:
    process = serve(start, tmp_path)
    line = ready(process)
    assert re.fullmatch(
        rf"taskyard server ready on 127\.0\.0\.1:\d+ \(data 127\.0\.0\.1:\d+, database sqlite:///{tmp_path}/a\.db\)\n",
        line,
    )
    process.send_signal(number)
    assert outcome(process) == (0, "")


def test_an_address_in_use_is_exit_code_3(start: Start, tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        code, errors = outcome(
            start("serve", "--listen", f"127.0.0.1:{port}", "--database", f"sqlite:///{tmp_path}/a.db")
        )
        assert (code, errors.count("\n")) == (3, 1)
        assert f"another process listens on 127.0.0.1:{port}" in errors
        code, errors = outcome(serve(start, tmp_path, "--http", f"127.0.0.1:{port}"))
        assert code == 3


def test_a_database_in_use_is_exit_code_4(start: Start, tmp_path: Path) -> None:
    first = serve(start, tmp_path)
    ready(first)
    code, errors = outcome(serve(start, tmp_path))
    assert (code, errors.count("\n")) == (4, 1)
    assert str(first.pid) in errors


def test_a_foreign_database_is_exit_code_5(start: Start, tmp_path: Path) -> None:
    (tmp_path / "a.db").write_bytes(b"this is no database, and long enough to be looked at" * 100)
    code, errors = outcome(serve(start, tmp_path))
    logged, told = errors.splitlines()
    assert (code, "a.db is damaged" in logged) == (5, True)
    assert "a.db" not in told
    assert told[told.index("[") : told.index("]")] in logged


@pytest.mark.parametrize("url", ["postgresql://me:s3cret@[bad/x", "postgresql://me@h/x?a=s3cret", "x:s3cret"])
def test_a_database_url_that_cannot_be_used_is_exit_code_2_in_one_line(start: Start, url: str) -> None:
    code, errors = outcome(start("serve", "--listen", "127.0.0.1:0", "--database", url))
    assert (code, errors.count("\n"), "s3cret" in errors) == (2, 1, False)


def test_a_schema_of_a_later_release_is_exit_code_5(start: Start, tmp_path: Path) -> None:
    first = serve(start, tmp_path)
    ready(first)
    first.terminate()
    assert outcome(first)[0] == 0
    with sqlite3.connect(tmp_path / "a.db") as database:
        database.execute("UPDATE alembic_version SET version_num = 'from_the_future'")
    database.close()
    assert outcome(serve(start, tmp_path))[0] == 5


def test_a_bad_address_is_told_in_one_line(start: Start, tmp_path: Path) -> None:
    code, errors = outcome(start("serve", "--listen", "nonsense", "--database", "sqlite://"))
    assert (code, errors.count("\n")) == (2, 1)
    assert "HOST:PORT" in errors


def test_a_socket_left_by_a_dead_server_is_taken_over(start: Start, tmp_path: Path) -> None:
    arguments = ("serve", "--listen", f"unix:{tmp_path}/s.sock", "--database", f"sqlite:///{tmp_path}/a.db")
    first = start(*arguments)
    ready(first)
    code, errors = outcome(start(*arguments))
    assert (code, "another process listens" in errors) == (3, True)
    first.kill()
    first.wait()
    assert (tmp_path / "s.sock").exists()
    second = start(*arguments)
    assert ready(second).startswith(f"taskyard server ready on unix:{tmp_path}/s.sock")
    second.terminate()
    assert outcome(second) == (0, "")
    assert not (tmp_path / "s.sock").exists()


def test_a_file_in_place_of_the_socket_is_left_alone(start: Start, tmp_path: Path) -> None:
    (tmp_path / "s.sock").write_text("mine")
    code, _ = outcome(start("serve", "--listen", f"unix:{tmp_path}/s.sock", "--database", "sqlite://"))
    assert (code, (tmp_path / "s.sock").read_text()) == (3, "mine")


def test_the_probes_answer(start: Start, tmp_path: Path) -> None:
    process = serve(start, tmp_path, "--http", "127.0.0.1:0")
    found = re.search(r"\(http ([^,]+), ", ready(process))
    assert found is not None
    url = f"http://{found[1]}"
    with urllib.request.urlopen(f"{url}/healthz", timeout=10) as answer:
        assert (answer.status, answer.read()) == (200, b"ok\n")
    with urllib.request.urlopen(f"{url}/metrics", timeout=10) as answer:
        text = answer.read().decode()
    assert "taskyard_shard_generation 1.0" in text
    assert 'taskyard_agents{state="ONLINE"} 0.0' in text
    assert "process_resident_memory_bytes" in text
    with pytest.raises(urllib.error.HTTPError) as caught:
        urllib.request.urlopen(f"{url}/other", timeout=10)
    with caught.value as error:
        assert error.code == 404
    process.terminate()
    assert outcome(process) == (0, "")


def test_losing_the_database_to_another_owner_is_exit_code_6(start: Start, tmp_path: Path) -> None:
    process = serve(start, tmp_path)
    found = re.search(r"ready on (\S+)", ready(process))
    assert found is not None
    with sqlite3.connect(tmp_path / "a.db") as database:
        database.execute("UPDATE shard_owner SET generation = generation + 1")
    database.close()
    with grpc.insecure_channel(found[1]) as channel:
        template = template_pb2.RunTemplate(
            kind=states_pb2.RUN_KIND_TASK,
            name="add", queue="default", code=template_pb2.Code(task_name="add"),
        )  # fmt: skip
        run = run_service_pb2.NewRun(run_id=new_id(), template=template)
        stub = run_service_pb2_grpc.RunServiceStub(channel)
        with pytest.raises(grpc.RpcError):
            stub.SubmitRuns(run_service_pb2.SubmitRunsRequest(runs=[run]), timeout=20)
    code, errors = outcome(process)
    assert code == 6
    assert "Traceback" not in errors
