"""The task runner that has the nodes of a Ray cluster execute runs.

Nothing here imports Ray before a flow runs: agents without it import modules with such flows too.
"""

import os
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from typing import Any

from taskyard._engine.own_agent.on_workers import Ordered
from taskyard._engine.submission.ports import Service
from taskyard._network.session.session import Session
from taskyard.task_runners import TaskRunner


class RayTaskRunner(TaskRunner):
    """Nodes of a Ray cluster execute the runs, for as long as the flow run goes on.

    Each node of the cluster, also one that joins later, has an actor that starts an agent with as many slots
    as the node has processors. The control plane gives runs to these agents, as to all others: Ray lends its
    machines and sees no single run. So everything about tasks is the same as elsewhere, and what a lost node
    was executing is executed by others.

    The nodes need `taskyard[ray]`, in the release and the version of Python of the program, and have to reach
    the control plane at the address that the program has. An actor takes one processor of its node.
    """

    def __init__(
        self,
        address: str | None = None,
        init_kwargs: Mapping[str, Any] | None = None,
        shutdown_ray: bool = True,
    ) -> None:
        """Say which cluster; without an address the one that is connected, else one for the flow run.

        Args:
            address: A cluster that is there: "auto", "HOST:PORT" or "ray://HOST:PORT".
            init_kwargs: Further arguments of `ray.init`.
            shutdown_ray: Whether to end the connection afterwards, and with it a cluster that was started for
                the flow run. What the program has connected itself stays.

        Raises:
            ValueError: `init_kwargs` has the address.
        """
        if "address" in (init_kwargs or {}):
            raise ValueError("'init_kwargs' cannot have 'address': give it as RayTaskRunner(address=...)")
        self.address, self.shutdown_ray = address, shutdown_ray
        self.init_kwargs = {"namespace": "taskyard", **(init_kwargs or {})}

    @contextmanager
    def serving(self, session: Session) -> Iterator[Service]:
        """Have agents on the nodes of the cluster serve a queue of the flow run's own.

        Raises:
            ImportError: Ray is not installed.
            ConnectionError: There is no cluster at the address.
            RuntimeError: Another flow run of this process uses another cluster at the moment.
        """
        _require_ray()
        from taskyard_ray.connection import connected
        from taskyard_ray.nodes import agents_on_nodes

        ordered, process = Ordered(session, "ray"), os.getpid()
        with ExitStack() as stack:
            stack.enter_context(connected(self.address, self.init_kwargs, self.shutdown_ray))
            stack.enter_context(agents_on_nodes(ordered))
            try:
                yield Service(ordered.order.queue)
            finally:
                if os.getpid() != process:  # in a child that a flow forked all of it is the parent's
                    stack.pop_all()

    def __repr__(self) -> str:
        """Show it with its cluster."""
        return f"{type(self).__name__}({'' if self.address is None else f'address={self.address!r}'})"


def _require_ray() -> None:
    try:
        import ray  # noqa: F401
    except ImportError as error:
        raise ImportError(
            f"RayTaskRunner needs Ray, which is not installed ({error}); install it here and on the nodes"
            " with: pip install 'taskyard[ray]'"
        ) from None
