"""Code that tests have workers execute. Workers import it: `tests` is on their path."""

import ctypes
import os
import pickle
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from taskyard_api.v1 import agent_service_pb2 as pb
from taskyard_contract.execution import Invocation, WorkerHost


def call(name: str, *args: Any) -> bytes:
    """The arguments of a run of `Commands`."""
    return pickle.dumps((name, args))


class Commands:
    """Does what the arguments of a run say."""

    def execute(self, invocation: Invocation, host: WorkerHost) -> bytes | pb.ReportException:
        name, args = pickle.loads(invocation.args)
        value = getattr(self, f"do_{name}")(invocation, host, *args)
        return value if isinstance(value, bytes | pb.ReportException) else pickle.dumps(value)

    def do_echo(self, invocation: Invocation, host: WorkerHost, value: Any) -> Any:
        return value

    def do_about(self, invocation: Invocation, host: WorkerHost) -> Any:
        return {
            "run_id": invocation.run_id,
            "epoch": invocation.epoch,
            "name": invocation.run_name,
            "attempt": invocation.attempt,
            "caller": invocation.parent_run_id,
            "inputs": dict(invocation.inputs or {}),
            "flow": invocation.flow_run_name,
            "cache_key": (invocation.cache_key, invocation.cache_key_decided),
        }

    def do_pid(self, invocation: Invocation, host: WorkerHost) -> int:
        return os.getpid()

    def do_environment(self, invocation: Invocation, host: WorkerHost, name: str) -> str | None:
        return os.environ.get(name)

    def do_sleep(self, invocation: Invocation, host: WorkerHost, seconds: float, note: str = "") -> int:
        if note:
            Path(note).write_text(str(os.getpid()))
        time.sleep(seconds)
        return os.getpid()

    def do_exit(self, invocation: Invocation, host: WorkerHost, code: int) -> None:
        os._exit(code)

    def do_sys_exit(self, invocation: Invocation, host: WorkerHost) -> None:
        raise SystemExit(3)

    def do_kill(self, invocation: Invocation, host: WorkerHost, signum: int) -> None:
        os.kill(os.getpid(), signum)
        time.sleep(5)

    def do_segfault(self, invocation: Invocation, host: WorkerHost) -> None:
        ctypes.string_at(0)

    def do_close_sockets(self, invocation: Invocation, host: WorkerHost) -> None:
        os.closerange(3, 64)
        time.sleep(60)

    def do_exit_first_time(self, invocation: Invocation, host: WorkerHost, note: str) -> str:
        path = Path(note)
        if path.exists():
            return "second time"
        path.write_text("tried")
        os._exit(1)

    def do_stubborn(self, invocation: Invocation, host: WorkerHost, note: str) -> None:
        """Ignore TERM, with a child process that does too."""
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        child = subprocess.Popen(["/bin/sh", "-c", "trap '' TERM; sleep 60 & wait; sleep 60"])
        Path(note).write_text(f"{os.getpid()} {child.pid}")
        time.sleep(60)

    def do_clean_up(self, invocation: Invocation, host: WorkerHost, note: str) -> None:
        try:
            Path(note).write_text("started")
            time.sleep(60)
        finally:
            Path(note).write_text("cleaned up")

    def do_big(self, invocation: Invocation, host: WorkerHost, size: int) -> bytes:
        return b"x" * size

    def do_size(self, invocation: Invocation, host: WorkerHost, data: bytes) -> int:
        return len(data)

    def do_raise(self, invocation: Invocation, host: WorkerHost, text: str) -> None:
        raise ValueError(text)

    def do_log(self, invocation: Invocation, host: WorkerHost, text: str, seconds: float = 0.0) -> None:
        host.log((invocation.run_id, time.time_ns() // 1000, 20, "tests", text, invocation.run_name))
        time.sleep(seconds)

    def do_fork(self, invocation: Invocation, host: WorkerHost, note: str, fails: bool = False) -> int:
        """Return in a child as well; in the parent, the child's exit code."""
        with open(note, "a") as file:
            file.write("executed\n")
        pid = os.fork()
        if pid == 0:
            if fails:
                raise ValueError("in the copy")
            return 0
        return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])

    def do_wait_for_file(self, invocation: Invocation, host: WorkerHost, note: str) -> str:
        """Wait, blocked, for a file that another run of the same agent writes."""
        with host.blocked():
            while not Path(note).exists():
                time.sleep(0.01)
        return "seen"

    def do_write_file(self, invocation: Invocation, host: WorkerHost, note: str) -> None:
        Path(note).write_text("here")


class Unloadable:
    """Code whose loading fails."""

    def __reduce__(self) -> tuple[Any, ...]:
        return _refuse, ()


class Exiting:
    """Code that calls exit while it is loaded, as a script without a guard does."""

    def __reduce__(self) -> tuple[Any, ...]:
        return sys.exit, (3,)


class Speechless:
    """Code whose loading fails with an exception that has no text."""

    def __reduce__(self) -> tuple[Any, ...]:
        return _fail_speechless, ()


class NoText(Exception):
    """Cannot be told."""

    def __str__(self) -> str:
        raise RuntimeError("no words")


def _fail_speechless() -> None:
    raise NoText


def _refuse() -> None:
    raise ImportError("this code needs a library that is not here")


class Deadly:
    """Code whose loading kills the worker."""

    def __reduce__(self) -> tuple[Any, ...]:
        return os._exit, (9,)


def add(left: int, right: int = 0) -> int:
    """Called by reference."""
    return left + right


async def add_later(left: int, right: int) -> int:
    """Called by reference."""
    return left + right


COMMANDS = pickle.dumps(Commands())
