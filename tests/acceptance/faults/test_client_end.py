"""A client that ends in the middle: its flow run is CRASHED, and nothing of it is started any more."""

import signal

import pytest
from support.history import read_history
from support.processes import Child, Installation
from support.recorded import Recorded

from taskyard_contract.states import FIRST_FINAL, RunKind, RunState, StateReason

pytestmark = [pytest.mark.acceptance, pytest.mark.chaos]

COUNT = 30


@pytest.fixture
def client(fresh: Installation) -> Child:
    """A client two of whose tasks are being executed."""
    fresh.start_server()
    fresh.start_agent(slots=2)
    client = fresh.start_client("lingering", COUNT, 1.0)
    fresh.wait_for(lambda: started(fresh) >= 2, 15, "two tasks have started")
    return client


def started(own: Installation) -> int:
    return len(read_history(own.history).executions) if own.history.exists() else 0


def wait_until_ended(own: Installation, timeout: float) -> tuple[Recorded, float]:
    """Wait until no run is open; returns what was recorded, and how long that took."""

    def all_ended() -> bool:
        return all(run.state >= FIRST_FINAL for run in Recorded(own.database).runs)

    seconds = own.wait_for(all_ended, timeout, "the end of all runs")
    return Recorded(own.database), seconds


def check_work_goes_on(own: Installation) -> None:
    (told,) = own.succeeded(own.start_client("bad_input", "unpicklable-argument"), 20)
    assert told["after"] == "after"


def test_a_killed_client_is_given_up_after_its_lease(fresh: Installation, client: Child) -> None:
    client.kill()
    recorded, seconds = wait_until_ended(fresh, 10)
    (flow,) = recorded.flows
    assert (flow.state, flow.reason) == (RunState.CRASHED, StateReason.SESSION_LOST)
    assert seconds > 1.0, "the client was given up before its lease of two seconds had lapsed"
    counts = recorded.states(RunKind.TASK)
    assert set(counts) == {"COMPLETED", "CANCELLED"}
    # Two at a time, a second each: what had started was finished, what had not was never started.
    assert counts["COMPLETED"] == started(fresh) <= 12
    assert sum(counts.values()) == COUNT
    check_work_goes_on(fresh)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupted_client_takes_its_runs_along(
    fresh: Installation, client: Child, number: signal.Signals
) -> None:
    client.send(number)
    code = fresh.exit_code(client, 5)
    assert code in (128 + number, -number), client.describe()
    # Not after the lease: the client said so itself.
    recorded, _ = wait_until_ended(fresh, 1.5)
    (flow,) = recorded.flows
    assert (flow.state, flow.reason) == (RunState.CRASHED, StateReason.INTERRUPTED)
    counts = recorded.states(RunKind.TASK)
    assert counts == {"CANCELLED": COUNT}
    assert started(fresh) == 2
    check_work_goes_on(fresh)
