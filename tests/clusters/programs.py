"""Programs whose flows are executed by clusters of the machine, one for each kind."""

from typing import Final, NamedTuple


class Kind(NamedTuple):
    """How programs write that a kind of cluster is to execute runs."""

    name: str
    imports: str
    own: str
    """A task runner with a cluster of its own, of two workers with a slot each (Ray: a node with two)."""
    there: str
    """One for a cluster that is there, at `address`."""
    cluster: str
    """A program that is such a cluster, and prints its address."""


DASK: Final = Kind(
    "dask",
    "from taskyard_dask import DaskTaskRunner",
    "DaskTaskRunner(cluster_kwargs={'n_workers': 2, 'threads_per_worker': 1, 'dashboard_address': None})",
    "DaskTaskRunner(address={address!r})",
    """
import signal, sys
from distributed import LocalCluster

if __name__ == "__main__":
    with LocalCluster(n_workers=1, threads_per_worker=1, dashboard_address=None) as cluster:
        print(cluster.scheduler_address, flush=True)
        signal.signal(signal.SIGTERM, lambda *_: sys.exit())
        signal.pause()
""",
)
RAY: Final = Kind(
    "ray",
    "from taskyard_ray import RayTaskRunner",
    "RayTaskRunner(init_kwargs={'num_cpus': 2, 'include_dashboard': False, 'logging_level': 'ERROR'})",
    "RayTaskRunner(address={address!r}, init_kwargs={{'logging_level': 'ERROR'}})",
    """
import signal, sys
import ray

if __name__ == "__main__":
    ray.init("local", num_cpus=2, include_dashboard=False, logging_level="ERROR")
    print(ray.get_runtime_context().gcs_address, flush=True)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit())
    signal.pause()
""",
)
TASKS: Final = """
import os, pathlib, time
from taskyard import flow, get_run_logger, task
from taskyard.cache_policies import INPUTS

{imports}

RUNNER = {runner}

@task
def add(a, b):
    return a + b

@task(retries=2)
def fails_once(path):
    path = pathlib.Path(path)
    if not path.exists():
        path.touch()
        raise ValueError("the first time")
    return "the second time"

@task
def fails():
    raise KeyError("always")

@task(cache_policy=INPUTS)
def counted(path):
    with open(path, "a") as lines:
        lines.write("line\\n")
    return "counted"

@task
async def waits_a_little(number):
    return number

@task
def waits(path):
    with open(path, "a") as lines:
        lines.write(f"{{os.getpid()}}\\n")
    if len(pathlib.Path(path).read_text().split()) == 1:
        time.sleep(600)
    return "elsewhere"

@flow(task_runner=RUNNER)
def all_kinds(place):
    sums = add.map([1, 2, 3], 10)
    assert add.submit(add.submit(1, 2), 4).result() == 7
    assert sums.result() == [11, 12, 13]
    assert fails_once.submit(f"{{place}}/once").result() == "the second time"
    assert [counted.submit(f"{{place}}/counted").result() for _ in range(3)] == ["counted"] * 3
    assert len(pathlib.Path(f"{{place}}/counted").read_text().split()) == 1
    assert waits_a_little.submit(5).result() == 5
    assert add(20, 22) == 42
    state = fails.submit(return_state=True)
    assert state.is_failed(), state
    return "all of it"

@flow(task_runner=RUNNER)
def waiting(path):
    return waits.submit(path).result()

if __name__ == "__main__":
    {main}
"""


def program(runner: str, kind: Kind, main: str) -> str:
    """Return a program with one of the task runners of a kind.

    Args:
        runner: How it is written.
        kind: Of which kind it is.
        main: What the program does, of what is defined before.
    """
    return TASKS.format(imports=kind.imports, runner=runner, main=main)
