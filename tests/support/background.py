"""Tasks that programs serve for tests; they say where they were executed, and wait for files."""

import asyncio
import os
import threading
import time
from pathlib import Path

from taskyard import get_run_logger, runtime, task


def wait_for(gate: str, seconds: float = 60.0) -> None:
    deadline = time.monotonic() + seconds
    while not os.path.exists(gate):
        if time.monotonic() > deadline:
            raise TimeoutError(f"nobody opened {gate}")
        time.sleep(0.01)


@task(queue="background")
def double(number: int) -> int:
    return number * 2


@task(queue="background")
def where(value: object = None) -> tuple[int, str]:
    return os.getpid(), threading.current_thread().name


@task
def anywhere() -> int:
    return os.getpid()


@task(queue="background", retries=2, retry_delay_seconds=0)
def third_time(folder: str) -> int:
    attempt = runtime.task_run.run_count
    (Path(folder) / f"attempt-{attempt}").write_text(str(os.getpid()))
    if attempt < 3:
        raise ValueError(f"attempt {attempt}")
    return attempt


@task(queue="background")
def fails() -> None:
    raise KeyError("no such thing")


@task(queue="background")
def at_gate(name: str, folder: str) -> int:
    """Note that it has begun, and in which process; then wait for the gate."""
    (Path(folder) / f"{name}.{os.getpid()}").touch()
    wait_for(f"{folder}/gate")
    return os.getpid()


@task(queue="background")
async def meets(party: int) -> int:
    """Wait until so many are there: they share one loop."""
    here.append(party)
    if len(here) == party:
        complete.set()
    await complete.wait()
    return id(asyncio.get_running_loop())


here: list[int] = []
complete = asyncio.Event()


@task(queue="background", timeout_seconds=0.2)
def too_slow() -> None:
    while True:
        time.sleep(0.01)


@task(queue="background", timeout_seconds=0.2)
async def too_slow_in_loop() -> None:
    await asyncio.sleep(60)


@task
def helper(number: int) -> tuple[int, int]:
    return number + 1, os.getpid()


@task(queue="background")
def calls_others(number: int) -> list[tuple[int, int]]:
    return [helper(number), helper.submit(number + 1).result()]


@task(queue="background")
async def calls_others_in_loop(number: int) -> tuple[int, int]:
    return await helper_in_loop(number)


@task
async def helper_in_loop(number: int) -> tuple[int, int]:
    await asyncio.sleep(0)
    return number + 1, os.getpid()


@task(queue="background")
def copy_of(data: bytes) -> bytes:
    return bytes(data)


@task(queue="background", log_prints=True)
def speaks() -> None:
    get_run_logger().info("said by the logger")
    print("printed")


@task(queue="background", persist_result=False)
def not_kept() -> int:
    return 7
