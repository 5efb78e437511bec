"""A flow with a transaction, whose process is killed at a step: ``undone.py FOLDER STEP RUNNER``.

What it does to the world is in the file `effects` of the folder, a line each.
"""

import asyncio
import os
import signal
import sys
from pathlib import Path
from typing import Any

from taskyard import flow, task
from taskyard.results import ResultStore
from taskyard.task_runners import AgentTaskRunner, ThreadPoolTaskRunner
from taskyard.transactions import CommitMode, atransaction, transaction

FOLDER, STEP, RUNNER = Path(sys.argv[1]), sys.argv[2], sys.argv[3]
OWN_PID = os.getpid()
TABLE = bytes(200_000)


def note(what: str) -> None:
    with open(FOLDER / "effects", "a") as file:
        file.write(f"{what}\n")


def stop_at(step: str) -> None:
    """Do nothing any more, if this is the step, until somebody has it go on."""
    if step == STEP:
        os.kill(OWN_PID, signal.SIGSTOP)


def die_at(*steps: str) -> None:
    """Be killed, if this is the step. Hooks of a lost flow run are called by others, who go on."""
    if STEP in steps and os.getpid() == OWN_PID:
        os.kill(OWN_PID, signal.SIGKILL)


@task
def work(name: str) -> str:
    note(f"did {name}")
    if STEP == "before-stage" and name == "b":
        os.kill(OWN_PID, signal.SIGKILL)
    return name


@work.on_rollback
def undo(txn: Any) -> None:
    name = txn.read().result
    if name == "a":
        die_at("during-rollback")
    if STEP == "worker-dies" and not (FOLDER / "died").exists():
        (FOLDER / "died").touch()
        os.kill(os.getpid(), signal.SIGKILL)
    assert len(txn.get("table", TABLE)) == len(TABLE)
    note(f"undid {name} of {txn.get('value')}")


@work.on_commit
def keep(txn: Any) -> None:
    if STEP == "given-up":
        note("committed")
    if txn.read().result == "b":
        die_at("during-commit-hooks")


@task
def fails() -> None:
    raise ValueError("as it should")


class Store(ResultStore):
    """A store whose program dies behind the record that it writes."""

    def persist_result_record(self, record: Any) -> None:
        super().persist_result_record(record)
        die_at("after-record")


def keyed(key: str) -> Any:
    return transaction(key=key, store=Store(result_storage=FOLDER / "records"))


def body() -> None:
    with keyed("saga") as txn:
        txn.set("value", 1)
        work("a")
        work("b")
        die_at("after-stage", "worker-dies")
        stop_at("given-up")
        txn.set("value", 2)
        die_at("after-set")
        if STEP in ("during-rollback", "rolled-back"):
            fails()
    die_at("after-commit")


def undo_itself(txn: Any) -> None:
    note(f"undid {txn.get('value')} itself")


def nested() -> None:
    with transaction() as outer:
        outer.set("value", "outer")
        work("a")
        with transaction() as inner:
            inner.set("value", "inner")
            inner.stage(None, on_rollback_hooks=[undo_itself])
            work("b")
            if STEP == "nested-given-up":
                stop_at(STEP)
                fails()
        with transaction(commit_mode=CommitMode.EAGER):
            work("kept")
        work("c")
        die_at("nested")


async def asynchronous() -> None:
    async with atransaction() as txn:
        txn.set("value", 1)
        txn.set("table", TABLE)
        work.map(["a"]).wait()
        work.map(["b"]).wait()
        die_at("asynchronous")


SHAPES = {"nested": nested, "nested-given-up": nested, "asynchronous": asynchronous}
runner = ThreadPoolTaskRunner() if RUNNER == "threads" else AgentTaskRunner()
outcome = flow(name="saga", task_runner=runner)(SHAPES.get(STEP, body))()
if asyncio.iscoroutine(outcome):
    asyncio.run(outcome)
