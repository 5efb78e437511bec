"""Clusters of Dask and Ray execute the runs of flows; the control plane stays who decides about them."""

import signal
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager

import psutil
import pytest
from clusters.programs import DASK, RAY, Kind, program
from support.processes import is_alive
from support.programs import Stage, eventually

KINDS = [pytest.param(kind, id=kind.name) for kind in (DASK, RAY)]
START_SECONDS = 120.0
"""Ray may take half a minute on a busy machine."""


@contextmanager
def cluster(stage: Stage, kind: Kind) -> Iterator[str]:
    """Have a cluster that no task runner has started; yields its address."""
    started = stage.start_script(kind.cluster)
    try:
        yield started.line(START_SECONDS)
    finally:
        started.end()


def finished(stage: Stage, source: str) -> subprocess.CompletedProcess[str]:
    """Run a program to its end, again if Ray had not begun after the 30 seconds that it gives itself."""
    for _ in range(3):
        done = stage.run_script(source, START_SECONDS)
        if "timed out during startup" not in done.stderr:
            break
    return done


def agents(stage: Stage) -> list[str]:
    return [agent["name"] for agent in stage.document("agent", "ls")]


def written(stage: Stage, name: str, lines: int) -> list[int]:
    """Return the process ids in a file of a task, as soon as there are so many."""
    path = stage.home / name
    found: list[str] = eventually(
        lambda: path.exists() and len(path.read_text().split()) >= lines and path.read_text().split(),
        f"the task has begun {lines} times",
        START_SECONDS,
    )
    return [int(pid) for pid in found]


def agent_of(worker: int) -> psutil.Process:
    """Return the agent of which a process is a worker."""
    chain = psutil.Process(worker).parents()
    return [each for each in chain if any("taskyard_agent" in word for word in each.cmdline())][-1]


@pytest.mark.parametrize("kind", KINDS)
def test_row_62_the_workers_of_a_cluster_execute_the_runs_of_a_flow(stage: Stage, kind: Kind):
    """Futures, maps, retries, caching, failures and coroutines, where nobody else could execute anything."""
    source = program(kind.own, kind, f"print(all_kinds({str(stage.home)!r}))")
    done = finished(stage, source)
    assert done.returncode == 0, done.stderr
    assert "all of it" in done.stdout.splitlines()
    assert agents(stage) == [], "they end with the flow run"


@pytest.mark.parametrize("kind", KINDS)
def test_row_62_a_cluster_that_is_there_is_used_and_goes_on(stage: Stage, kind: Kind):
    with cluster(stage, kind) as address:
        for _ in range(2):
            source = program(kind.there.format(address=address), kind, "print(waiting('/dev/null'))")
            source = source.replace("== 1", "== -1")
            done = finished(stage, source)
            assert done.returncode == 0, done.stderr
            assert "elsewhere" in done.stdout.splitlines()


@pytest.mark.parametrize("kind", KINDS)
def test_what_a_lost_worker_was_executing_is_executed_elsewhere(stage: Stage, kind: Kind):
    source = program(kind.own, kind, f"print(waiting({str(stage.home / 'began')!r}))")
    running = stage.start_script(source)
    [worker] = written(stage, "began", 1)
    agent = agent_of(worker)
    host = agent.parent()
    assert host is not None
    gone = [host, agent, *agent.children(recursive=True)]
    for end in (psutil.Process.suspend, psutil.Process.kill):  # at once, as if its machine were gone
        for process in gone:
            end(process)
    assert "elsewhere" in iter(lambda: running.line(START_SECONDS), ""), running.log  # Ray prints lines too
    assert running.wait(60) == 0, running.log
    assert len(written(stage, "began", 2)) == 2


@pytest.mark.parametrize("kind", KINDS)
def test_the_agents_of_a_program_that_is_killed_end_as_well(stage: Stage, kind: Kind):
    """On a cluster that goes on, where nobody would miss them."""
    with cluster(stage, kind) as address:
        source = program(
            kind.there.format(address=address), kind, f"print(waiting({str(stage.home / 'began')!r}))"
        )
        running = stage.start_script(source)
        [worker] = written(stage, "began", 1)
        agent = agent_of(worker).pid
        running.end(signal.SIGKILL)
        eventually(lambda: not is_alive(agent), "the agent has ended", START_SECONDS)
        eventually(lambda: not is_alive(worker), "what it executed has ended", START_SECONDS)


def test_a_worker_that_joins_executes_runs_as_well(stage: Stage):
    """Dask: a cluster without workers, which gets one while runs wait for it."""
    runner = DASK.own.replace("'n_workers': 2", "'n_workers': 0")
    main = f"print(waiting({str(stage.home / 'began')!r}))"
    source = program(runner, DASK, main).replace("== 1", "== -1")
    grows = """
    import threading, distributed
    class Growing(distributed.LocalCluster):
        def __init__(self, **options):
            super().__init__(**options)
            threading.Timer(3, self.scale, [1]).start()
    RUNNER.cluster_class = Growing
    """
    source = source.replace('if __name__ == "__main__":', 'if __name__ == "__main__":' + grows)
    done = finished(stage, source)
    assert done.returncode == 0, done.stderr
    assert "elsewhere" in done.stdout.splitlines()


def test_a_connection_to_the_scheduler_that_was_lost_is_no_end(stage: Stage):
    """Dask: the scheduler ends the agents of a client that is gone, and the client comes back."""
    loses = """
    import distributed
    @flow(task_runner=RUNNER)
    def losing():
        assert add.submit(1, 2).result() == 3
        [client] = list(distributed.Client._instances)
        client.loop.add_callback(client.scheduler_comm.abort)
        for number in range(40):
            time.sleep(0.2)
            assert add.submit(number, 1).result() == number + 1
        return "still there"
    print(losing())
    """
    done = stage.run_script(program(DASK.own, DASK, loses), START_SECONDS)
    assert done.returncode == 0, done.stderr
    assert "still there" in done.stdout.splitlines()


def test_a_scheduler_that_ends_fails_the_flow(stage: Stage):
    """Dask: or its runs would wait for ever."""
    with cluster(stage, DASK) as address:
        runner = DASK.there.format(address=address)[:-1] + ", client_kwargs={'timeout': 3})"
        running = stage.start_script(program(runner, DASK, f"waiting({str(stage.home / 'began')!r})"))
        written(stage, "began", 1)
    assert running.wait(START_SECONDS) != 0
    assert "was lost; its runs cannot be executed" in running.log


@pytest.mark.parametrize("kind", KINDS)
def test_a_cluster_that_does_not_reach_the_control_plane_is_said(stage: Stage, kind: Kind):
    """The program reaches it; the workers do not, here because they are told another address."""
    source = program(kind.own, kind, "waiting('/dev/null')")
    hides = """
    import dataclasses
    from taskyard._engine.own_agent import on_workers
    before = on_workers.Ordered.__init__
    def wrong(self, session, kind):
        before(self, session, kind)
        self.order = dataclasses.replace(self.order, server="127.0.0.1:1")
    on_workers.Ordered.__init__ = wrong
    """
    source = source.replace('if __name__ == "__main__":', 'if __name__ == "__main__":' + hides)
    done = finished(stage, source)
    assert done.returncode != 0
    assert "no connection from" in done.stderr
    assert "that address is for one machine only" in done.stderr
