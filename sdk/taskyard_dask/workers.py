"""What Dask's workers and scheduler are given: an agent for each worker, which ends with the flow run.

Invariant: agents end with the client of the program, however that ends. The worker's part is taken back when
the flow run ends; when the program is killed the scheduler, which sees its client go, takes it back.
"""

import asyncio
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Final

from distributed import Client, Status
from distributed.diagnostics.plugin import SchedulerPlugin, WorkerPlugin

from taskyard._engine.own_agent.on_workers import Order, Ordered
from taskyard.exceptions import TaskyardError
from taskyard.logging import get_logger

JOINING_SECONDS: Final = 0.1
LISTENING: Final = "listening"
LISTENING_SECONDS: Final = 30.0
LOOK_SECONDS: Final = 1.0
"""How often the program looks whether its connection is another one."""


@contextmanager
def agents_on(client: Client, ordered: Ordered) -> Iterator[None]:
    """Have an agent on each worker of a cluster while entered, also on those that join.

    Raises:
        TaskyardError: The workers, or the scheduler, cannot do so.
    """
    queue = ordered.order.queue
    topic = f"taskyard-{queue}"
    _listen(client, ordered, topic)
    _register(client, ordered, topic)
    leaving = threading.Event()
    keeper = threading.Thread(target=_keep, args=(client, ordered, topic, leaving), name=queue, daemon=True)
    keeper.start()
    try:
        yield
    finally:
        leaving.set()
        keeper.join()
        try:
            client.unregister_worker_plugin(queue)
            client.unregister_scheduler_plugin(_name(queue))
            client.unsubscribe_topic(topic)
        except Exception as error:  # it is being left, and what the flow run gives is known
            get_logger("task_runner.dask").warning("The Dask cluster was lost before it was left: %r", error)


def _listen(client: Client, ordered: Ordered, topic: str) -> None:
    """Hear what is said of a topic from here on: what is said before the scheduler knows that is lost.

    Raises:
        TaskyardError: The scheduler does not tell.
    """
    listening = threading.Event()

    def hear(event: tuple[float, dict[str, str]]) -> None:
        if event[1]["what"] == LISTENING:
            listening.set()
        else:
            _hear(ordered, event[1])

    client.subscribe_topic(topic, hear)
    deadline = time.monotonic() + LISTENING_SECONDS
    while not listening.is_set():
        if time.monotonic() > deadline:
            raise TaskyardError(
                f"the Dask scheduler at {client.scheduler.address} tells nothing of its workers"
            )
        client.log_event(topic, {"what": LISTENING})
        listening.wait(JOINING_SECONDS)


def _register(client: Client, ordered: Ordered, topic: str) -> None:
    try:
        client.register_plugin(_EndWithProgram(ordered.order.queue, client.id, topic))
        client.register_plugin(_AgentOnWorker(ordered.order, topic))
    except Exception as error:
        raise TaskyardError(
            f"the Dask cluster at {client.scheduler.address} cannot start agents: {error!r}; its scheduler"
            " and its workers need the same release of 'taskyard[dask]' as this program"
        ) from error


def _keep(client: Client, ordered: Ordered, topic: str, leaving: threading.Event) -> None:
    """Have agents again after the connection to the scheduler was lost, which has ended them, and is back."""
    connection, address = client.scheduler_comm, client.scheduler.address
    while not leaving.wait(LOOK_SECONDS):
        try:
            if client.status == "running" and client.scheduler_comm is not connection:
                connection = client.scheduler_comm
                if not client.run_on_scheduler(_has, ordered.order.queue):
                    _register(client, ordered, topic)
        except Exception as error:
            get_logger("task_runner.dask").warning("No agents could be started again: %r", error)
            connection = None
        if client.status in ("closing", "closed") and not leaving.is_set():
            ordered.fail(f"the Dask cluster at {address} was lost; its runs cannot be executed")
            return


def _has(queue: str, dask_scheduler: Any = None) -> bool:
    return queue in dask_scheduler.worker_plugins


def _hear(ordered: Ordered, said: dict[str, str]) -> None:
    worker = said["worker"]
    if said["what"] == "failed":
        ordered.failed(worker, said["how"], said["log"])
    else:
        (ordered.on if said["what"] == "on" else ordered.lost)(worker)


def _name(queue: str) -> str:
    return f"end-{queue}"


class _AgentOnWorker(WorkerPlugin):  # type: ignore[misc]  # Dask need not be installed where types are checked
    """Has a worker start an agent, and end it when the plugin is taken back or the worker ends."""

    def __init__(self, order: Order, topic: str) -> None:
        self.name = order.queue
        self.order, self.topic = order, topic

    def setup(self, worker: Any) -> None:
        def failed(how: str, log: str) -> None:
            said = {"what": "failed", "worker": worker.address, "how": how, "log": log}
            worker.loop.add_callback(_say, worker, self.topic, said)

        self.agent = self.order.fulfil(worker.state.nthreads, failed)

    async def teardown(self, worker: Any) -> None:
        await asyncio.to_thread(self.agent.close)


def _say(worker: Any, topic: str, said: dict[str, str]) -> None:
    """Send something to the program; a worker that is still joining drops what it is given to send."""
    if worker.status in (Status.init, Status.starting):
        worker.loop.call_later(JOINING_SECONDS, _say, worker, topic, said)
    else:
        worker.log_event(topic, said)


class _EndWithProgram(SchedulerPlugin):  # type: ignore[misc]
    """Has the scheduler tell a program of its workers, and end its agents once it is gone."""

    def __init__(self, queue: str, client: str, topic: str) -> None:
        self.name = _name(queue)
        self.queue, self.client, self.topic = queue, client, topic

    async def start(self, scheduler: Any) -> None:
        for worker in scheduler.workers:
            self.add_worker(scheduler, worker)

    def add_worker(self, scheduler: Any, worker: str) -> None:
        scheduler.log_event(self.topic, {"what": "on", "worker": worker})

    def remove_worker(self, scheduler: Any, worker: str, **_: Any) -> None:
        scheduler.log_event(self.topic, {"what": "lost", "worker": worker})

    def remove_client(self, scheduler: Any, client: str) -> None:
        if client == self.client:
            scheduler.loop.add_callback(self._end, scheduler)

    async def _end(self, scheduler: Any) -> None:
        if self.client in scheduler.clients:
            return  # it is back
        if self.queue in scheduler.worker_plugins:
            await scheduler.unregister_worker_plugin(comm=None, name=self.queue)
        if self.name in scheduler.plugins:
            scheduler.remove_plugin(name=self.name)
