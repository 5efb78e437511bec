"""The task runners of Dask and Ray as objects, where neither need be installed."""

import pickle
import subprocess
import sys
from typing import Any

import pytest
from support.loopback import LoopbackSession

from taskyard.task_runners import TaskRunner
from taskyard_dask import DaskTaskRunner
from taskyard_ray import RayTaskRunner

ALL: list[TaskRunner] = [
    DaskTaskRunner(),
    DaskTaskRunner(address="tcp://host:8786", client_kwargs={"timeout": 3}),
    DaskTaskRunner(cluster_class="distributed.LocalCluster", cluster_kwargs={"n_workers": 1}),
    RayTaskRunner(),
    RayTaskRunner(address="auto", init_kwargs={"namespace": "mine"}),
]


class Cluster:
    """One that a program has started."""

    def __init__(self, asynchronous: bool = False) -> None:
        self.asynchronous = asynchronous

    scheduler_address = "tcp://10.0.0.1:8786"

    def __getstate__(self) -> Any:
        raise TypeError("a cluster cannot be pickled")


@pytest.mark.parametrize("runner", ALL, ids=repr)
def test_row_62_a_duplicate_of_a_clusters_is_equal_and_not_started(runner: TaskRunner) -> None:
    other = runner.duplicate()
    assert other == runner
    assert other is not runner
    assert pickle.loads(pickle.dumps(runner)) == runner
    assert runner.name in ("dask", "ray")
    with pytest.raises(RuntimeError, match="Task runner is not started"):
        other.submit(None, {})  # type: ignore[arg-type]


def test_they_are_shown_with_their_cluster() -> None:
    assert [repr(runner) for runner in ALL] == [
        "DaskTaskRunner()",
        "DaskTaskRunner(address='tcp://host:8786')",
        "DaskTaskRunner(cluster_class='distributed.LocalCluster')",
        "RayTaskRunner()",
        "RayTaskRunner(address='auto')",
    ]
    assert DaskTaskRunner(address="a") != DaskTaskRunner(address="b")


def test_a_cluster_of_the_program_travels_as_its_address() -> None:
    cluster = Cluster()
    runner = DaskTaskRunner(cluster=cluster)
    assert runner.duplicate().cluster is cluster
    there = pickle.loads(pickle.dumps(runner))
    assert (there.cluster, there.address) == (None, "tcp://10.0.0.1:8786")


@pytest.mark.parametrize(
    ("options", "why"),
    [
        ({"address": "a", "cluster_class": "b"}, "'address' is a cluster that is there"),
        ({"address": "a", "cluster": Cluster()}, "no 'cluster' beside it"),
        ({"cluster": Cluster(), "cluster_kwargs": {"n_workers": 1}}, "no 'cluster_kwargs' beside it"),
        ({"cluster": Cluster(asynchronous=True)}, "made without asynchronous=True"),
        ({"adapt_kwargs": {"maximum": 3}}, "'adapt_kwargs' is not supported: Dask scales by its own tasks"),
        ({"performance_report_path": "x.html"}, "'performance_report_path' is not supported"),
        ({"cluster_kwargs": {"asynchronous": True}}, "'cluster_kwargs' cannot have 'asynchronous'"),
        ({"client_kwargs": {"asynchronous": True}}, "'client_kwargs' cannot have 'asynchronous'"),
    ],
)
def test_options_that_cannot_be_are_refused_by_name(options: dict[str, Any], why: str) -> None:
    with pytest.raises(ValueError, match=why):
        DaskTaskRunner(**options)


def test_ray_takes_its_address_by_name() -> None:
    with pytest.raises(ValueError, match="'init_kwargs' cannot have 'address'"):
        RayTaskRunner(init_kwargs={"address": "auto"})


@pytest.mark.parametrize(
    ("runner", "module", "extra"),
    [(DaskTaskRunner(), "distributed", "dask"), (RayTaskRunner(), "ray", "ray")],
    ids=["dask", "ray"],
)
def test_what_is_not_installed_is_said(
    runner: TaskRunner,
    module: str,
    extra: str,
    session: LoopbackSession,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(ImportError, match=rf"pip install 'taskyard\[{extra}\]'"), runner:
        raise AssertionError("it was started")


def test_agents_without_them_import_flows_that_name_them() -> None:
    script = (
        "import sys; sys.modules['distributed'] = sys.modules['ray'] = None\n"
        "from taskyard_dask import DaskTaskRunner; from taskyard_ray import RayTaskRunner\n"
        "from taskyard import flow\n"
        "flow(task_runner=DaskTaskRunner())(print)\n"
        "flow(task_runner=RayTaskRunner)(print)"
    )
    subprocess.run([sys.executable, "-c", script], check=True)
