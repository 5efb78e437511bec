"""Agents and workers that are killed or stopped in the middle of a graph with retries and a cache.

Two agents, short leases. Whatever happens to one of them, the client gets every result, in time, and the
history of what was executed agrees with what is recorded.
"""

import os
import random
import signal
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import psutil
import pytest
from support.history import check_all, read_history
from support.processes import Child, Installation, installation, is_alive, workers_of, zygotes_of
from support.recorded import Recorded

pytestmark = [pytest.mark.chaos, pytest.mark.timeout(150)]

LEASE = 2.0
WIDTH, MILLISECONDS = 500, 6
RUNS = 4 * WIDTH + WIDTH // 10 + 1


@pytest.fixture
def running(tmp_path: Path) -> Iterator[Installation]:
    database = f"sqlite:///{tmp_path / 'taskyard.db'}"
    with installation(tmp_path, database, agent_lease=LEASE, session_lease=20) as running:
        running.start_server()
        yield running


def started(running: Installation, count: int) -> Child:
    """Start the client and wait until so many executions have started."""
    client = running.start_client("mixed", WIDTH, MILLISECONDS)
    running.wait_for(
        lambda: executions(running) >= count or not client.running, 30, f"{count} executions"
    )  # fmt: skip
    assert client.running, client.describe()
    return client


def executions(running: Installation) -> int:
    return len(read_history(running.history).executions) if running.history.exists() else 0


def check(running: Installation, client: Child, timeout: float = 90, runs: int = RUNS) -> None:
    """Wait for the client's results and compare them with everything else."""
    records = running.succeeded(client, timeout)
    assert len(records) == runs
    running.stop_server()
    history = read_history(running.history)
    print(f"{history.repeated()} executions were repeated")
    check_all(records, Recorded(running.database), history)


def test_a_killed_agent(running: Installation) -> None:
    """Its workers are gone within two seconds, and its runs are executed elsewhere after its lease."""
    victim = running.start_agent("first")
    running.start_agent("second")
    client = started(running, WIDTH)
    below = [process.pid for process in victim.descendants()]
    victim.kill()
    seconds = running.wait_for(lambda: not any(map(is_alive, below)), 2, "the end of its workers")
    print(f"{len(below)} processes of it were gone after {seconds:.2f} s")
    check(running, client)
    assert running.server is not None
    assert "agent 'first' is lost" in running.server.errors()


def test_the_only_agent_is_killed_and_started_again(running: Installation) -> None:
    """A new process of the same agent supersedes the old one at once, lease or not."""
    for round_number in range(3):
        agent = running.start_agent("only")
        if round_number == 0:
            client = started(running, WIDTH)
        else:
            time.sleep(1.0)
        if round_number < 2:
            assert client.running, client.describe()
            agent.kill()
    check(running, client)


def test_workers_are_killed_at_random(running: Installation) -> None:
    """Each death is noticed within a second: a new worker takes the place of the old one."""
    seed = random.randrange(1_000_000)
    print(f"seed {seed}")
    drawn = random.Random(seed)
    agent = running.start_agent("only", slots=2)
    client = started(running, 50)
    for _ in range(6):
        time.sleep(drawn.uniform(0.1, 0.6))
        assert client.running, client.describe()
        victim = drawn.choice(workers_of(agent))
        victim.kill()
        running.wait_for(
            lambda dead=victim.pid: f"worker {dead}: the worker process was killed" in agent.errors(),
            1.0, "the death is noticed",
        )  # fmt: skip
        # Two at work, and one that is ready for the next program.
        running.wait_for(lambda: len(workers_of(agent)) >= 2, 2.0, "another worker takes its place")
    assert running.metric('taskyard_run_retries_total{cause="infrastructure"}') > 0
    check(running, client)


def test_the_process_that_starts_workers_is_killed(running: Installation) -> None:
    """Without it no worker could be replaced: the agent starts another one, and all results arrive."""
    agent = running.start_agent("only", slots=2)
    client = started(running, 50)
    for _ in range(3):
        time.sleep(0.5)
        assert client.running, client.describe()
        (zygote,) = zygotes_of(agent)
        old = {worker.pid for worker in workers_of(agent)}
        zygote.kill()
        running.wait_for(
            lambda known=old: len({worker.pid for worker in workers_of(agent)} - known) >= 2,
            3.0, "two new workers",
        )  # fmt: skip
    check(running, client)


def test_a_stopped_agent_comes_back_too_late(running: Installation) -> None:
    """SIGSTOP for longer than the lease: others did its runs, what it reports later changes nothing."""
    victim = running.start_agent("first")
    running.start_agent("second")
    client = started(running, 50)
    frozen = [psutil.Process(victim.pid), *victim.descendants()]
    for process in frozen:
        process.suspend()
    server = running.server
    assert server is not None
    running.wait_for(lambda: "agent 'first' is lost" in server.errors(), 2 * LEASE, "its lease lapses")
    assert client.running, client.describe()
    for process in frozen:
        with suppress(psutil.NoSuchProcess):  # the agent, resumed first, may have ended it
            process.resume()
    check(running, client)
    assert victim.running, victim.describe()


def test_the_work_of_a_stopped_agent_is_ended(running: Installation) -> None:
    """Only the agent is stopped: its workers are not left alone with runs that others have taken over."""
    victim = running.start_agent("first", slots=2)
    client = running.start_client("lingering", 2, 20.0)
    running.wait_for(lambda: executions(running) == 2, 15, "two executions")
    old = {execution.pid for execution in read_history(running.history).executions}
    victim.send(signal.SIGSTOP)
    running.start_agent("second", slots=2)
    running.wait_for(lambda: executions(running) == 4, 5 * LEASE, "both runs are executed again")
    victim.send(signal.SIGCONT)
    seconds = running.wait_for(lambda: not any(map(is_alive, old)), 5, "the end of the old executions")
    print(f"the old executions ended after {seconds:.2f} s")
    assert client.running, client.describe()
    client.send(signal.SIGINT)
    running.exit_code(client, 5)


def test_a_stopped_control_plane(running: Installation) -> None:
    """SIGSTOP for longer than all leases: nobody's silence is taken for death, nothing is lost."""
    running.start_agent("first")
    running.start_agent("second")
    client = started(running, WIDTH)
    assert running.server is not None
    running.server.send(signal.SIGSTOP)
    time.sleep(2.5 * LEASE)
    before = executions(running)
    running.server.send(signal.SIGCONT)
    running.wait_for(lambda: executions(running) > before, LEASE, "work goes on")
    check(running, client)


def test_processes_of_many_coroutines_are_killed(running: Installation) -> None:
    """All that was live in one is executed again; nothing is lost, and no effect on a state is doubled."""
    seed = random.randrange(1_000_000)
    print(f"seed {seed}")
    drawn = random.Random(seed)
    agent = running.start_agent("only", slots=2)
    client = running.start_client("coroutines", 2_000, 400)
    for count in (150, 300, 450):
        running.wait_for(lambda most=count: executions(running) >= most, 30, f"{count} executions")
        assert client.running, client.describe()
        lanes = Counter(execution.pid for execution in read_history(running.history).executions[-100:])
        victim = drawn.choice([pid for pid in lanes if is_alive(pid)])
        os.kill(victim, signal.SIGKILL)
        running.wait_for(
            lambda dead=victim: f"worker {dead}: the worker process was killed" in agent.errors(),
            1.0, "the death is noticed",
        )  # fmt: skip
    check(running, client, runs=2_000)
    assert read_history(running.history).repeated() > 0
