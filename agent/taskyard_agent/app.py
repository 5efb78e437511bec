"""The composition root: builds an agent from its settings, runs it, drains it.

Invariant: an agent that is asked to stop gives back what it has not started, waits for what is running, and
leaves when the control plane has acknowledged it all; only a second signal, or time, cuts that short.
"""

import asyncio
import logging
import os
import signal
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from typing import Any, Final

from taskyard_agent.holding.blob_store import BlobStore
from taskyard_agent.holding.unpacked_bundles import UnpackedBundles
from taskyard_agent.holding.worlds import Interpreter, Worlds
from taskyard_agent.machine_memory import read_memory
from taskyard_agent.processes.pool import ProcessPool
from taskyard_agent.processes.terminating import Why
from taskyard_agent.processes.workforce import Workforce
from taskyard_agent.processes.zygote_client import ZygoteClient, own_interpreter
from taskyard_agent.settings import Settings
from taskyard_api.v1 import agent_service_pb2 as pb
from taskyard_contract import capabilities
from taskyard_contract.agent_link import AgentStream, Identity, LinkSession
from taskyard_contract.capabilities import CODE_BY_NAME, CODE_BY_REFERENCE, CODE_BY_VALUE
from taskyard_contract.clock import SystemClock
from taskyard_contract.encodings import KNOWN
from taskyard_contract.errors import TaskyardError
from taskyard_contract.programs.event_loops import new_event_loop
from taskyard_contract.programs.log_lines import say_ready
from taskyard_contract.world import facts

logger = logging.getLogger(__name__)

FLUSH_SECONDS: Final = 5.0
"""For the last reports to be acknowledged; a control plane that takes longer will repeat the runs."""
CAPABILITIES: Final = (*KNOWN, CODE_BY_VALUE, CODE_BY_REFERENCE, capabilities.own_interpreter())
"""What the worker processes can decode and load. The control plane gives this agent nothing else."""
MEASURE_SECONDS: Final = 15.0
"""Between two looks at the memory of the machine: people look at it, nothing is decided by it."""
SWEEP_SECONDS: Final = 30.0
"""Between two looks for what killed programs have left."""


class Agent:
    """A pool of workers and the stream that feeds it, from start to exit."""

    def __init__(
        self,
        settings: Settings,
        start_zygote: Callable[[], ZygoteClient],
        offers: Sequence[pb.TaskOffer] = (),
        start_other: Callable[[Interpreter], ZygoteClient] | None = None,
    ) -> None:
        """Build an agent that serves the tasks of `offers` by name; must be called on its event loop."""
        self._settings = settings
        self._stopping = asyncio.Event()
        self._hurry = asyncio.Event()
        identity = Identity(
            agent_id=settings.agent_id,
            session_id=os.urandom(16),
            name=settings.name,
            queues=settings.queues,
            slots=settings.slots,
            labels=settings.labels,
            capabilities=(*CAPABILITIES, CODE_BY_NAME) if offers else CAPABILITIES,
            tasks=offers,
            coroutines=settings.slots * settings.coroutines,
        )
        blobs = BlobStore(settings.blob_dir, lambda: self._stream.address, settings.blob_bytes)
        workforce = Workforce(
            settings.slots, start_zygote, most_waiting=settings.max_waiting, start_other=start_other
        )
        bundles = UnpackedBundles(settings.bundle_dir, blobs)
        worlds = Worlds(
            settings.state_dir / facts.WORLDS, own_interpreter(), bundles.file, apart=bool(settings.serve)
        )
        self._pool = ProcessPool(
            settings.slots,
            workforce,
            blobs,
            self._stopping.set,
            worlds=worlds,
            bundles=bundles,
            coroutines=settings.coroutines,
        )
        self._session = LinkSession(identity, self._pool)
        self._stream = AgentStream(settings.server, self._session, SystemClock(), on_ready=self._announce)
        self._pool.serve(self._session)

    async def run(self) -> int:
        """Serve until told to stop; returns the exit code."""
        loop = asyncio.get_running_loop()
        for signum in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(signum, self._on_signal)
        serving = asyncio.create_task(self._stream.run())
        measuring = asyncio.create_task(self._measure())
        sweeping = asyncio.create_task(self._sweep())
        try:
            await _first(serving, self._stopping.wait())
            if not serving.done():
                await _first(serving, self._drain(), self._hurry.wait())
            self._stream.stop()
            await serving
        except TaskyardError as error:
            logger.error("agent '%s' stops: %s", self._settings.name, error)
            return 1
        finally:
            serving.cancel()
            measuring.cancel()
            sweeping.cancel()
            self._pool.close()
        return 1 if self._hurry.is_set() else 0

    async def _measure(self) -> None:
        """Have the control plane told how much memory is used here, where the system says it."""
        while (memory := read_memory()) is not None:
            self._session.has_memory(*memory)
            await asyncio.sleep(MEASURE_SECONDS)

    async def _sweep(self) -> None:
        """Remove what programs have announced that were killed: their variables are in it."""
        while True:
            await asyncio.to_thread(facts.sweep, self._settings.state_dir / facts.WORLDS)
            await asyncio.sleep(SWEEP_SECONDS)

    def _on_signal(self) -> None:
        if self._stopping.is_set():
            logger.warning("second signal: leaving at once")
            self._hurry.set()
        else:
            text = "draining; runs in progress have %g seconds, a second signal ends them at once"
            logger.info(text, self._settings.grace)
            self._stopping.set()

    async def _drain(self) -> None:
        pool = self._pool
        pool.on_drain()
        if not await _within(self._settings.grace, pool.emptied()):
            pool.stop_running()
            await _within(Why.STOPPED.grace + 1.0, pool.emptied())
        if not await self._stream.settle(FLUSH_SECONDS):
            logger.warning("the last reports were not acknowledged; their runs will be repeated")

    def _announce(self) -> None:
        own = self._settings
        queues = ", ".join(own.queues)
        slots = f"{own.slots} slot{'s' if own.slots != 1 else ''}"
        line = f"taskyard agent ready: {own.name}, {slots}, queues {queues}, server {own.server}"
        say_ready(line, logger)


async def _first(serving: "asyncio.Task[None]", *others: Awaitable[Any]) -> None:
    """Wait for whichever ends first; the others of `others` are cancelled."""
    tasks = [asyncio.ensure_future(other) for other in others]
    try:
        await asyncio.wait([serving, *tasks], return_when=asyncio.FIRST_COMPLETED)
    finally:
        for task in tasks:
            task.cancel()


async def _within(seconds: float, awaitable: Awaitable[None]) -> bool:
    """Wait, but not for long; returns whether it was enough."""
    with suppress(TimeoutError):
        await asyncio.wait_for(awaitable, seconds)
        return True
    return False


def run(
    settings: Settings,
    start_zygote: Callable[[], ZygoteClient],
    offers: Sequence[pb.TaskOffer] = (),
    start_other: Callable[[Interpreter], ZygoteClient] | None = None,
) -> int:
    """Run an agent in this process; returns its exit code."""

    async def serve() -> int:
        return await Agent(settings, start_zygote, offers, start_other).run()

    with asyncio.Runner(loop_factory=new_event_loop) as runner:
        return runner.run(serve())
