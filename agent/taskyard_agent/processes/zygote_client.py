"""The agent's end of the zygote: starts it, asks for workers, learns of their exits.

Invariant: the main process starts exactly one kind of child, by exec, never by a bare fork.
"""

import asyncio
import logging
import os
import socket
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

from taskyard_agent.holding.worlds import START_VARIABLES, Interpreter, command_of
from taskyard_agent.processes.lines import WorkerLines
from taskyard_agent.runner import zygote
from taskyard_contract.programs.private_files import umask_of_users
from taskyard_contract.world import facts

logger = logging.getLogger(__name__)


class ZygoteClient:
    """A zygote process, from its start to the end of all its workers."""

    def __init__(
        self,
        blobs: Path,
        preload: Sequence[str],
        environment: dict[str, str],
        serve: Sequence[str] = (),
        interpreter: Interpreter | None = None,
        descriptors: int | None = None,
    ) -> None:
        """Start it; it takes requests before it has finished its imports.

        Args:
            blobs: Where workers find large payloads.
            preload: Modules to import before workers are forked.
            environment: What to add to the variables of this process.
            serve: Modules whose tasks workers serve.
            interpreter: The program's own, when it is not that of this process.
            descriptors: How many files workers may have open, when that differs from this process.
        """
        near, far = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with far:
            self._process = subprocess.Popen(
                _command(far.fileno(), blobs, preload, serve, interpreter, descriptors),
                pass_fds=[far.fileno()],
                stdin=subprocess.DEVNULL,
                stdout=sys.stderr.fileno(),
                start_new_session=True,
                umask=umask_of_users(),
                env=_variables(interpreter) | environment,
            )
        self._prepared = False
        self._control = near
        self._control.setblocking(False)

    def listen(
        self,
        loop: asyncio.AbstractEventLoop,
        on_spawned: Callable[[int, int], None],
        on_exited: Callable[[int, int], None],
        on_gone: Callable[[], None],
    ) -> None:
        """Have answers delivered.

        Args:
            loop: The event loop.
            on_spawned: Called with a worker's number and process id.
            on_exited: Called with a worker's number and wait status.
            on_gone: Called when the zygote itself has died; so have all its workers.
        """

        def readable() -> None:
            while True:
                try:
                    message = self._control.recv(zygote.ANSWER.size)
                except BlockingIOError:
                    return
                except OSError:
                    message = b""
                if not message:
                    loop.remove_reader(self._control)
                    on_gone()
                    return
                kind, number, pid, status = zygote.ANSWER.unpack(message)
                if kind == zygote.SPAWNED:
                    on_spawned(number, pid)
                else:
                    on_exited(number, status)

        loop.add_reader(self._control, readable)

    def spawn(self, number: int, lines: WorkerLines) -> bool:
        """Ask for a worker; returns whether the request could be made. Closes the worker's ends."""
        try:
            socket.send_fds(self._control, [zygote.SPAWN.pack(number)], lines.descriptors())
        except OSError as error:
            logger.warning("could not ask for a worker: %s", error)
            return False
        finally:
            lines.close_far()
        return True

    def prepare(self) -> None:
        """Have it import what workers need whose code calls tasks, before it forks the next one."""
        if self._prepared:
            return
        try:
            self._control.send(zygote.SPAWN.pack(zygote.PREPARE))
            self._prepared = True
        except OSError as error:  # full: asked again soon; closed: that it is gone is about to be noticed
            logger.debug("could not ask the zygote to prepare: %s", error)

    def close(self, loop: asyncio.AbstractEventLoop, timeout: float = 2.0) -> None:
        """End the zygote, and with it every worker."""
        loop.remove_reader(self._control)
        self._control.close()
        try:
            self._process.wait(timeout)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()


def own_interpreter() -> Interpreter:
    """Return how the agent's own workers are started."""
    variables = {name: value for name, value in os.environ.items() if name in START_VARIABLES}
    return Interpreter(
        sys.executable,
        sys.prefix,
        tuple(facts.interpreter_options()),
        tuple(facts.library_path()),
        tuple((name, variables[name]) for name in START_VARIABLES if name in variables),
    )


def _variables(interpreter: Interpreter | None) -> dict[str, str]:
    """Return the variables of a zygote: those of its workers come with their program."""
    if interpreter is None:
        return dict(os.environ)
    others = {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}
    return {name: value for name, value in others.items() if name not in START_VARIABLES} | dict(
        interpreter.variables
    )


def _command(
    control: int,
    blobs: Path,
    preload: Sequence[str],
    serve: Sequence[str],
    interpreter: Interpreter | None,
    descriptors: int | None,
) -> list[str]:
    command = ["--agent", str(os.getpid()), "--control", str(control), "--blobs", str(blobs)]
    if descriptors is not None:
        command += ["--descriptors", str(descriptors)]
    for module in preload:
        command += ["--preload", module]
    for module in serve:
        command += ["--serve", module]
    if interpreter is not None:
        return command_of(interpreter, command)
    return [sys.executable, "-m", "taskyard_agent.runner.zygote", *command]
