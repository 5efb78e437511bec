"""Listings on terminals: no line is longer than the terminal, and nothing is cut that tells runs apart."""

from datetime import datetime

import pytest
from rich.cells import cell_len
from support.fake_services import START_US, make_run

from taskyard.cli.views import output, runs
from taskyard.cli.views.output import short_time
from taskyard_api.v1 import admin_service_pb2 as admin
from taskyard_api.v1 import cache_service_pb2 as cache
from taskyard_contract.ids import format_id
from taskyard_contract.states import AgentState, RunState

LONG = "transform-the-customers-of-the-north-and-of-the-south-123"
IDS = [bytes.fromhex(f"01a229685ba6700{number}90819537dfca0000") for number in range(5)]


def be_terminal(monkeypatch: pytest.MonkeyPatch, width: int) -> None:
    """Let commands print to a terminal of so many columns."""
    for module in (output, runs):
        monkeypatch.setattr(module, "on_terminal", lambda: True)
    monkeypatch.setenv("COLUMNS", str(width))


@pytest.fixture(params=[60, 80, 90, 120, 200])
def width(request, monkeypatch) -> int:
    be_terminal(monkeypatch, request.param)
    return int(request.param)


def check(lines: list[str], width: int) -> None:
    assert lines
    assert max(map(cell_len, lines)) <= width, lines


def test_runs(services, call, width):
    states = [
        RunState.COMPLETED,
        RunState.FAILED,
        RunState.AWAITING_RETRY,
        RunState.RUNNING,
        RunState.CANCELLED,
    ]
    services.runs = [
        make_run(0, run_id=run_id, name=name, state=state)
        for run_id, name, state in zip(
            IDS, (LONG, "add-1", "add-2", "日本語" * 20, "add-3"), states, strict=True
        )
    ]
    heading, *lines = call("run", "ls").lines
    check([heading, *lines], width)
    assert heading.split()[0] == "NAME"
    assert heading.split()[-1] == "ID"
    rows = lines[:5]  # a last line may say what is not shown
    assert [row.split()[-1] for row in rows] == [f"68-5ba6-700{number}" for number in range(5)]
    assert rows[1].startswith("add-1 ")
    name = rows[0].split()[0]
    assert name == LONG or ("…" in name and name.endswith("th-123"))
    assert all(
        word in line for word, line in zip(("Completed", "Failed", "AwaitingRetry"), rows, strict=False)
    )


def test_eighty_columns_have_every_column(services, call, monkeypatch):
    """As it looks: what most people see."""
    be_terminal(monkeypatch, 80)
    services.runs = [make_run(0, run_id=IDS[0], name=LONG), make_run(0, run_id=IDS[1], kind=2)]
    at = short_time(datetime.fromtimestamp(START_US / 1_000_000), datetime.now()).ljust(9)
    name = f"{LONG[: 40 - len(at) - 7]}…th-123"
    assert call("run", "ls").lines == [
        f"{'NAME'.ljust(len(name))}  KIND  STATE      {'SUBMITTED'.ljust(len(at))}  TOOK   ID",
        f"{name}  task  Completed  {at}  12 ms  68-5ba6-7000",
        f"{'add-0'.ljust(len(name))}  flow  Completed  {at}  12 ms  68-5ba6-7001",
    ]


def test_agents(services, call, width):
    services.agents = [
        admin.Agent(
            agent_id="id",
            name=f"{LONG}-{number}",
            state=AgentState.ONLINE,
            slots=16,
            held_runs=1_234,
            memory_used_bytes=9 << 30,
            memory_total_bytes=64 << 30,
            queues=["default", "gpu", "nightly"],
            labels={"zone": "a", "disk": "fast"},
            last_seen_us=START_US,
            version="0.1.0",
            condition="the disk of its payload store is full" if number else "",
        )
        for number in range(2)
    ]
    lines = call("agent", "ls").lines
    check(lines, width)
    assert "CONDITION" in lines[0]
    if width < 120:
        assert lines[-1].startswith("(no room for ")


def test_tasks_and_cached_results(services, call, width):
    services.tasks = [
        admin.Task(
            name=LONG, version="1.2.3", queues=["default", "gpu"], encodings=["json/plain", "python/pickle5"],
            agents=["a", "b"], description="Adds up what it is given. " * 5,
        )
    ]  # fmt: skip
    check(call("task", "ls").lines, width)
    services.cached = [
        cache.CacheEntry(key="0123456789abcdef" * 4, run_id=run_id, run_name=LONG, ended_us=START_US)
        for run_id in IDS
    ]
    lines = call("cache", "ls").lines
    check(lines, width)
    assert "68-5ba6-7004" in lines[5]


def test_the_states_and_the_upstream_runs_of_a_run(services, call, width):
    upstream = make_run(0, run_id=IDS[1], name=LONG)
    run = make_run(0, run_id=IDS[0], name="mine", upstream=[{"run_id": IDS[1], "kind": 1}])
    services.runs = [run, upstream]
    lines = call("run", "show", format_id(IDS[0])).lines
    check(lines, max(width, 60))
    assert any(line.endswith("68-5ba6-7001") for line in lines)


@pytest.mark.parametrize(
    ("at", "shown"),
    [
        (datetime(2026, 11, 29, 1, 2, 3), "01:02:03"),
        (datetime(2026, 11, 28, 22, 23, 55), "Nov 28 22:23"),
        (datetime(2025, 12, 31, 23, 59, 59), "2025-12-31"),
    ],
)
def test_times_are_as_short_as_they_can_be(at, shown):
    assert short_time(at, datetime(2026, 11, 29, 23, 0)) == shown
