"""Measures listings of runs on tables of several sizes: what one costs must not grow with the table.

The tables are filled through the control plane's own store, in large commits, because submitting millions of
runs would take an hour. Of all runs one in a thousand ended badly; one in a thousand is a flow run, and the
others are inside it. Each listing is measured as a read of the database, and as the command a person types.
"""

import os
import random
import statistics
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

from benchmarks.database import Database, provide
from benchmarks.drive import leave_cleanly_when_terminated
from benchmarks.processes import Processes, environment, free_port
from benchmarks.taskyard_system import command_line
from taskyard_api.v1.session_service_pb2 import RunOutcome
from taskyard_api.v1.template_pb2 import RunTemplate
from taskyard_contract.states import RunKind, RunState
from taskyard_controlplane.storage import create_reader, create_store
from taskyard_controlplane.storage.interface import EndedRow, NewRunRow, RunFilter, Store, WriteBatch

SIZES: Final = tuple(map(int, (os.environ.get("SIZES") or "100000,1000000").split(",")))
ROUNDS: Final = int(os.environ.get("ROUNDS") or 15)
LIMIT: Final = 20
INSIDE: Final = 1_000
"""Runs from one flow run to the next."""
_AT_ONCE: Final = 5_000
_BEGAN_US: Final = 1_700_000_000_000_000
_TASK, _FLOW = 1, 2
_OUTCOME: Final = RunOutcome(message="ValueError: " + "no " * 150).SerializeToString()

Listing = tuple[RunFilter, list[str]]


def fill(url: str, size: int) -> None:
    """Write a table of runs that have ended."""
    chance = random.Random(size)
    store = create_store(url)
    store.open()
    templates = [(number, name.encode(), RunTemplate(name=name).SerializeToString(), name)
                 for number, name in ((_TASK, "load"), (_FLOW, "nightly"))]  # fmt: skip
    _commit(store, 1, templates=templates)
    for number, first in enumerate(range(1, size + 1, _AT_ONCE), start=2):
        seqs = range(first, min(first + _AT_ONCE, size + 1))
        ends = [_end(seq, chance) for seq in seqs]
        badly = [(end.seq,) for end in ends if end.state != RunState.COMPLETED]
        new = [_new(seq, chance) for seq in seqs]
        _commit(store, number, new_runs=new, ended=ends, ended_badly=badly, low_seq=seqs.stop)
        store.maintain()
    store.close()


def _commit(store: Store, number: int, **lists: Any) -> None:
    batch = WriteBatch(number)
    for name, rows in lists.items():
        setattr(batch, name, rows)
    store.commit(batch)


def _new(seq: int, chance: random.Random) -> NewRunRow:
    at_us = _BEGAN_US + seq * 1_000
    flow = (seq - 1) // INSIDE * INSIDE + 1
    is_flow = seq == flow
    return NewRunRow(
        seq=seq,
        run_id=(at_us // 1_000).to_bytes(6, "big") + b"\x70\x00" + chance.randbytes(8),
        kind=RunKind.FLOW if is_flow else RunKind.TASK,
        state=RunState.PENDING,
        flow_seq=None if is_flow else flow,
        caller_id=None,
        session_id=b"s" * 16,
        template_id=_FLOW if is_flow else _TASK,
        ordinal=seq - flow,
        name=f"brisk-otter-{seq}" if is_flow else None,
        args=chance.randbytes(60),
        args_blob=None,
        cache_key=None,
        upstream=None,
        submitted_us=at_us,
        headers=None,
    )


def _end(seq: int, chance: random.Random) -> EndedRow:
    badly = chance.random() < 0.001
    state = chance.choice((RunState.FAILED, RunState.CRASHED)) if badly else RunState.COMPLETED
    result, outcome = (None, _OUTCOME) if badly else (chance.randbytes(20), None)
    at_us = _BEGAN_US + seq * 1_000
    return EndedRow(
        state=state,
        reason=0,
        attempt=1,
        infra_retries=0,
        epoch=(1 << 32) | seq,
        started_us=at_us + 10,
        ended_us=at_us + 5_000,
        result=result,
        outcome=outcome,
        agent_number=None,
        seq=seq,
    )


def listings(size: int) -> dict[str, Listing]:
    """Return what is measured: as it is asked of the database, and of the command line."""
    flow_seq = size // 2 // INSIDE * INSIDE + 1
    old, new = f"brisk-otter-{flow_seq}", f"brisk-otter-{(size - 1) // INSIDE * INSIDE + 1}"
    middle_us = _BEGAN_US + size // 2 * 1_000
    since = datetime.fromtimestamp(middle_us / 1_000_000, UTC).isoformat()
    failed, completed = (int(RunState.FAILED),), (int(RunState.COMPLETED),)
    running = tuple(int(state) for state in RunState if state < RunState.COMPLETED)
    return {
        "plain": (RunFilter(), []),
        "--state failed": (RunFilter(states=failed), ["--state", "failed"]),
        "--state completed": (RunFilter(states=completed), ["--state", "completed"]),
        "--state running": (RunFilter(states=running), ["--state", "running"]),
        "--kind flow": (RunFilter(kind=RunKind.FLOW), ["--kind", "flow"]),
        "--kind flow --name, old": (
            RunFilter(RunKind.FLOW, None, (), old), ["--kind", "flow", "--name", old]),
        "--name, new": (RunFilter(name_contains=new), ["--name", new]),
        "--name, no hit": (RunFilter(name_contains="nobody"), ["--name", "nobody"]),
        "--flow": (RunFilter(flow_seq=flow_seq), ["--flow", "{flow}"]),
        "--flow --state failed": (
            RunFilter(flow_seq=flow_seq, states=failed), ["--flow", "{flow}", "--state", "failed"]),
        "--task": (RunFilter(task_name="load"), ["--task", "load"]),
        "--task, no hit": (RunFilter(task_name="nobody"), ["--task", "nobody"]),
        "--tag, no hit": (RunFilter(tags=("nobody",)), ["--tag", "nobody"]),
        "--since, in the middle": (RunFilter(from_us=middle_us), ["--since", since]),
        "--since --name, no hit": (
            RunFilter(from_us=middle_us, name_contains="nobody"), ["--since", since, "--name", "nobody"]),
    }  # fmt: skip


def median_ms(body: Callable[[], object]) -> float:
    """Return how long it takes as a rule, after a first time that is not counted."""
    body()
    times = []
    for _ in range(ROUNDS):
        begin = time.perf_counter()
        body()
        times.append(time.perf_counter() - begin)
    return statistics.median(times) * 1_000


def measure(database: Database, size: int, processes: Processes) -> Iterator[tuple[str, float, float]]:
    """Yield each listing with the milliseconds of its read and of its command."""
    reader = create_reader(database.url)
    address = f"127.0.0.1:{free_port()}"
    options = ["--listen", address, "--http", f"127.0.0.1:{free_port()}", "--database", database.url]
    server = processes.start("server", [*command_line(), "server", "start", *options])
    server.wait_ready("taskyard server ready", on_stdout=True)
    env = environment({"TASKYARD_SERVER": address})
    flow_seq = listings(size)["--flow"][0].flow_seq or 0
    flow = reader.runs(RunFilter(kind=RunKind.FLOW), flow_seq + 1, 1).runs[0].run.run_id.hex()
    for name, (wanted, words) in listings(size).items():
        command = [*command_line(), "run", "ls", *(word.format(flow=flow) for word in words)]
        read = median_ms(lambda wanted=wanted: reader.runs(wanted, None, LIMIT))
        typed = median_ms(
            lambda command=command: subprocess.run(command, env=env, check=True, capture_output=True)
        )
        yield name, read, typed
    reader.close()
    processes.stop(server)


def main() -> None:
    """Measure each size, smallest first, and print a table."""
    leave_cleanly_when_terminated()
    kind = os.environ.get("DATABASE") or "sqlite"
    print(f"p50 in ms on {kind}, a page of {LIMIT}: the read, and the whole command")
    print(f"{'runs':>9}  {'listing':24}{'read':>9}{'command':>9}")
    for size in SIZES:
        with tempfile.TemporaryDirectory(prefix="bench-") as folder, Processes() as processes:
            database = provide(kind, Path(folder))
            fill(database.url, size)
            for name, read, typed in measure(database, size, processes):
                print(f"{size:>9}  {name:24}{read:>9.1f}{typed:>9.0f}", flush=True)
            database.close()


if __name__ == "__main__":
    main()
