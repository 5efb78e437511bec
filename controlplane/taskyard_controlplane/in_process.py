"""A control plane in a thread of a process that is something else, with a clock that can be set forward.

For tests of programs: `taskyard.testing` loads it by its name. It changes nothing of the process (no signal
handlers, no settings of the interpreter), and ends in order: a power cut takes a process of its own.
"""

import asyncio
import threading
from concurrent.futures import Future
from contextlib import suppress
from typing import Final

from taskyard_contract.clock import SystemClock, set_wall_clock_forward
from taskyard_contract.programs.event_loops import new_event_loop
from taskyard_controlplane.app import ControlPlane, first_of, stop_in_order
from taskyard_controlplane.settings import DatabaseSettings, RpcSettings, Settings

STOP_GRACE_SECONDS: Final = 0.2
"""For calls to end; whoever makes some is in this process, and about to go as well."""
ENDING_SECONDS: Final = 30.0
"""For all of it to end; a start that hangs in its database cannot be ended, and must not keep a test."""
SETTING_SECONDS: Final = 30.0
"""For the loop to have done what is due when its clock was set forward."""


class MovableClock(SystemClock):
    """The real clocks, set forward by as much as anybody has said; the wall clock is that of the process."""

    def __init__(self) -> None:
        """Show the real time, to begin with."""
        self._forward = 0.0

    def monotonic(self) -> float:
        """Return seconds that jump only forward."""
        return super().monotonic() + self._forward

    def set_forward(self, seconds: float) -> None:
        """Have it be later by so many seconds."""
        self._forward += seconds
        set_wall_clock_forward(seconds)

    def set_right(self) -> None:
        """Show the real time again, to whoever is left in this process."""
        set_wall_clock_forward(-self._forward)


class InProcess:
    """A control plane that serves in this process until `end`. To be used by any other thread."""

    def __init__(self, address: str, database: str, retry_delay_factor: float, forward: float = 0.0) -> None:
        """Start it, and do not wait until it serves.

        Args:
            address: Where it listens.
            database: The URL of its database.
            retry_delay_factor: What delays before retries are multiplied with, 0 to 1.
            forward: By how many seconds the clock had been set forward before.
        """
        self._settings = Settings(
            DatabaseSettings(database),
            RpcSettings(listen=address, stop_grace_seconds=STOP_GRACE_SECONDS),
            retry_delay_factor=retry_delay_factor,
        )
        self._clock = MovableClock()
        self._clock.set_forward(forward)
        self._serving: Future[ControlPlane] = Future()
        self._loop: Future[asyncio.AbstractEventLoop] = Future()
        self._stopping = asyncio.Event()
        self._thread = threading.Thread(target=self._serve, name="taskyard-server", daemon=True)
        self._thread.start()

    def wait_ready(self, seconds: float) -> None:
        """Wait until it serves.

        Args:
            seconds: How long.

        Raises:
            TimeoutError: It does not by then.
            Exception: What kept it from that.
        """
        self._serving.result(seconds)

    def end(self) -> None:
        """Stop it in order, and wait for that. Harmless when it has ended."""
        if self._thread.is_alive():
            with suppress(RuntimeError):  # it is ending by itself
                self._loop.result(ENDING_SECONDS).call_soon_threadsafe(self._stopping.set)
            self._thread.join(ENDING_SECONDS)

    def set_forward(self, seconds: float) -> None:
        """Set its clock forward, and have done what is due by then.

        Args:
            seconds: By how many; none or more.
        """
        moving = self._set_forward(self._serving.result(), seconds)
        asyncio.run_coroutine_threadsafe(moving, self._loop.result()).result(SETTING_SECONDS)

    async def _set_forward(self, plane: ControlPlane, seconds: float) -> None:
        self._clock.set_forward(seconds)
        plane.owner.clock_was_set(seconds)

    def _serve(self) -> None:
        try:
            with asyncio.Runner(loop_factory=new_event_loop) as runner:
                self._loop.set_result(runner.get_loop())
                runner.run(self._live())
        except BaseException as error:
            if self._serving.done():
                raise
            self._serving.set_exception(error)  # whatever it was: somebody waits to be told
            if not self._loop.done():
                self._loop.set_exception(RuntimeError("it has not begun"))
        finally:
            self._clock.set_right()

    async def _live(self) -> None:
        plane = ControlPlane(self._settings, self._clock)
        try:
            await first_of(plane.start(), self._stopping.wait())
            if self._stopping.is_set():
                raise RuntimeError("it was ended before it served")
            self._serving.set_result(plane)
            await first_of(self._stopping.wait(), plane.failed)
        finally:
            await stop_in_order(plane)
