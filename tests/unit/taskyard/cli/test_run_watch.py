"""``taskyard run watch``: how far a run is, until it has ended."""

import os
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from support.fake_services import FakeServices, make_run, run_id
from support.screen import OnTerminal, for_terminal

from taskyard_api.v1 import run_service_pb2 as pb
from taskyard_contract.states import RunState

S = RunState


def inside(**counts: int) -> list[list[pb.TaskSummary]]:
    states: Any = [pb.StateCount(state=int(S[name]), runs=runs) for name, runs in counts.items()]  # type: ignore[arg-type]
    return [[pb.TaskSummary(kind=1, task_name="step", counts=states)]]  # type: ignore[arg-type]


def hold(services: FakeServices, state: int = S.COMPLETED) -> None:
    services.runs = [make_run(1, kind=2, name="great-ammonite", task_name="main", state=state)]
    services.inside = {run_id(1): inside(COMPLETED=990, FAILED=10, RUNNING=2, PENDING=998)}


def test_a_run_that_has_ended_says_so_at_once(services: FakeServices, call: Any) -> None:
    hold(services)
    services.inside = {run_id(1): inside(COMPLETED=990, FAILED=10)}
    called = call("run", "watch", "great-ammonite")
    assert called.code == 0
    assert called.lines == ["great-ammonite Completed: 1,000/1,000 task runs done, 10 failed, took 12 ms"]
    assert called.err == ""


@pytest.mark.parametrize(
    ("state", "code"), [(S.COMPLETED, 0), (S.FAILED, 1), (S.CANCELLED, 1), (S.CRASHED, 1)]
)
def test_the_exit_code_says_whether_it_completed(
    services: FakeServices, call: Any, state: RunState, code: int
) -> None:
    hold(services, state)
    called = call("run", "watch", "great-ammonite")
    assert called.code == code
    if code:
        assert called.err == f"taskyard: great-ammonite ended {state.name.capitalize()}\n"


def test_without_a_terminal_its_states_are_told(services: FakeServices, call: Any) -> None:
    hold(services)
    services.show_as_open, services.waits_left = 1, 2
    called = call("run", "watch", "great-ammonite")
    assert called.code == 0
    assert called.err == "taskyard: great-ammonite is Running\ntaskyard: great-ammonite is Completed\n"
    assert "\x1b" not in called.out + called.err


def test_a_task_run_is_watched_as_well(services: FakeServices, call: Any) -> None:
    services.runs = [make_run(1)]
    called = call("run", "watch", "add-1")
    assert called.lines == ["add-1 Completed, took 12 ms"]


def test_nobody_is_found(services: FakeServices, call: Any) -> None:
    assert call("run", "watch", "nobody").code == 1


Watch = Callable[..., OnTerminal]


@pytest.fixture
def on_terminal(server: str) -> Iterator[Watch]:
    """Starts the command in a process of its own, on a terminal."""
    started: list[OnTerminal] = []
    environment = for_terminal(os.environ, TASKYARD_SERVER=server)

    def start(*arguments: str, columns: int = 80) -> OnTerminal:
        arguments = (
            "-c",
            "import sys; from taskyard.cli import main; sys.exit(main())",
            "run",
            "watch",
            *arguments,
        )
        started.append(OnTerminal(*arguments, environment=environment, columns=columns))
        return started[-1]

    yield start
    for one in started:
        one.close()


def test_on_a_terminal_there_is_a_line_and_it_goes_with_the_end(
    services: FakeServices, on_terminal: Watch
) -> None:
    hold(services)
    services.show_as_open, services.waits_left = 1, 5
    watching = on_terminal("great-ammonite")
    assert watching.wait() == 0
    line = b"great-ammonite: step 1,000/2,000 done, 10 failed, 2 running, 998 waiting"
    assert line in watching.written
    assert watching.screen().lines == [
        "great-ammonite Completed: 1,000/2,000 task runs done, 10 failed, took 12 ms"
    ]


def test_a_restart_of_the_server_is_nothing_to_it(services: FakeServices, on_terminal: Watch) -> None:
    hold(services)
    services.show_as_open, services.waits_left, services.stops_left = 1, 2, 1
    assert on_terminal("great-ammonite").wait() == 0


def test_ctrl_c_leaves_the_run_alone(services: FakeServices, on_terminal: Watch) -> None:
    hold(services)
    services.show_as_open, services.waits_left = 1, 10_000
    watching = on_terminal("great-ammonite")
    watching.read_until(lambda written: b"waiting" in written)
    watching.type(b"\x03")
    assert watching.wait() == 130
    assert watching.screen().lines in ([], ["^C"])
    assert not [asked for asked in services.asked if isinstance(asked, pb.CancelRunRequest)]


def test_a_narrow_terminal_has_a_short_line(services: FakeServices, on_terminal: Watch) -> None:
    hold(services)
    services.show_as_open, services.waits_left = 1, 10_000
    watching = on_terminal("great-ammonite", columns=40)
    watching.read_until(lambda written: b"done" in written)
    [*_, row] = watching.screen(40).lines
    assert row == "great-ammo… 1,000/2,000 done, 10 failed"
