"""The task runner that has the workers of a Dask cluster execute runs.

Nothing here imports Dask before a flow runs: agents without it import modules with such flows too.
"""

import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from importlib import import_module
from typing import Any, Final, Self

from taskyard._engine.own_agent.on_workers import Ordered
from taskyard._engine.submission.ports import Service
from taskyard._network.session.session import Session
from taskyard.task_runners import TaskRunner

_ADAPT: Final = (
    "'adapt_kwargs' is not supported: Dask scales by its own tasks, and the runs are none of them, so it"
    " would end workers that are busy; say how many there are with cluster_kwargs={'n_workers': N}"
)
_REPORT: Final = (
    "'performance_report_path' is not supported: it reports on Dask's own tasks, and the runs are none of"
    " them; 'taskyard run ls' and the web of the control plane show them"
)
_WAITS: Final = "'cluster' must be one that is waited for: made without asynchronous=True"
_MANAGED: Final = "'{where}' cannot have 'asynchronous': the task runner waits for the cluster by itself"


class DaskTaskRunner(TaskRunner):
    """Workers of a Dask cluster execute the runs, for as long as the flow run goes on.

    Each worker of the cluster, also one that joins later, starts an agent with as many slots as the worker
    has threads. The control plane gives runs to these agents, as to all others: Dask lends its machines and
    sees no single run. So everything about tasks is the same as elsewhere, and what a lost worker was
    executing is executed by others.

    The workers and the scheduler need `taskyard[dask]`, in the release and the version of Python of the
    program, and the workers have to reach the control plane at the address that the program has.
    """

    def __init__(
        self,
        cluster: Any = None,
        address: str | None = None,
        cluster_class: str | Callable[..., Any] | None = None,
        cluster_kwargs: Mapping[str, Any] | None = None,
        adapt_kwargs: Mapping[str, Any] | None = None,
        client_kwargs: Mapping[str, Any] | None = None,
        performance_report_path: str | None = None,
    ) -> None:
        """Say which cluster; without anything a `distributed.LocalCluster` for each flow run.

        Args:
            cluster: A cluster of the program's own, which goes on afterwards.
            address: The scheduler of a cluster that is there: "HOST:PORT", or with a scheme of Dask's.
            cluster_class: What makes a cluster for each flow run, or its name with its module's.
            cluster_kwargs: What it is called with.
            adapt_kwargs: Nothing; clusters are not scaled by their load here.
            client_kwargs: Further arguments of `distributed.Client`, for example `security` or `timeout`.
            performance_report_path: Nothing; Dask has nothing to report on.

        Raises:
            ValueError: More than one cluster is said, or something that is not supported.
        """
        made = {"cluster_class": cluster_class, "cluster_kwargs": cluster_kwargs}
        said = {"cluster": cluster, "address": address, **made}
        _refuse_two(said, "address", ("cluster", *made))
        _refuse_two(said, "cluster", tuple(made))
        if getattr(cluster, "asynchronous", False):
            raise ValueError(_WAITS)
        if adapt_kwargs:
            raise ValueError(_ADAPT)
        if performance_report_path is not None:
            raise ValueError(_REPORT)
        for where, given in (("cluster_kwargs", cluster_kwargs), ("client_kwargs", client_kwargs)):
            if "asynchronous" in (given or {}):
                raise ValueError(_MANAGED.format(where=where))
        self.cluster, self.address, self.cluster_class = cluster, address, cluster_class
        self.cluster_kwargs = dict(cluster_kwargs or {})
        self.client_kwargs = {"set_as_default": False, **(client_kwargs or {})}

    @contextmanager
    def serving(self, session: Session) -> Iterator[Service]:
        """Have agents on the workers of the cluster serve a queue of the flow run's own.

        Raises:
            ImportError: Dask is not installed.
            OSError: There is no scheduler at the address.
        """
        _require_dask()
        from taskyard_dask.workers import agents_on

        ordered, process = Ordered(session, "dask"), os.getpid()
        with ExitStack() as stack:
            client = stack.enter_context(self._client(stack))
            stack.enter_context(agents_on(client, ordered))
            try:
                yield Service(ordered.order.queue)
            finally:
                if os.getpid() != process:  # in a child that a flow forked all of it is the parent's
                    stack.pop_all()

    def _client(self, stack: ExitStack) -> Any:
        import distributed

        where = self.cluster if self.cluster is not None else self.address
        if where is None:
            self.logger.info("Starting a Dask cluster for this flow run")
            where = stack.enter_context(self._maker()(**self.cluster_kwargs))
        client = distributed.Client(where, **self.client_kwargs)
        self.logger.info("Using the Dask cluster at %s", client.scheduler.address)
        return client

    def _maker(self) -> Callable[..., Any]:
        said = self.cluster_class or "distributed.LocalCluster"
        if not isinstance(said, str):
            return said
        module, _, name = said.rpartition(".")
        maker: Callable[..., Any] = getattr(import_module(module), name)
        return maker

    def duplicate(self) -> Self:
        """Return another one of the same kind, not started, with the very cluster."""
        other = super().duplicate()
        other.cluster, other.address = self.cluster, self.address
        return other

    def __getstate__(self) -> dict[str, Any]:
        """Travel without a cluster of this program's: with the address of its scheduler."""
        state = super().__getstate__()
        if self.cluster is not None:
            state |= {"cluster": None, "address": self.cluster.scheduler_address}
        return state

    def __repr__(self) -> str:
        """Show it with its cluster."""
        named = ("address", self.address), ("cluster_class", self.cluster_class), ("cluster", self.cluster)
        said = ", ".join(f"{name}={value!r}" for name, value in named if value is not None)
        return f"{type(self).__name__}({said})"


def _refuse_two(said: Mapping[str, Any], one: str, others: tuple[str, ...]) -> None:
    second = [name for name in others if said[name]]
    if said[one] and second:
        raise ValueError(f"'{one}' is a cluster that is there, so there can be no '{second[0]}' beside it")


def _require_dask() -> None:
    try:
        import distributed  # noqa: F401
    except ImportError as error:
        raise ImportError(
            f"DaskTaskRunner needs Dask, which is not installed ({error}); install it here and on the cluster"
            " with: pip install 'taskyard[dask]'"
        ) from None
