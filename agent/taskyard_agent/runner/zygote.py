"""The zygote: imports once what every worker needs, then forks warm workers on request.

Why a process of its own: the agent's main process has gRPC's threads, and a process with threads must not
fork; a fresh interpreter for each worker would take half a second of imports. The zygote has one thread, no
gRPC and no user code, so its forks are safe, take a few milliseconds and share the pages of what is imported;
its objects are frozen, because a collection in a worker would copy those pages.

One message of `SOCK_SEQPACKET` is one request or answer. The agent sends a number with five descriptors (data
and control socket, progress board, pipes for standard output and error); the zygote forks and answers with
the process id, and later, when the worker has ended, with its wait status. That answer is the only proof of
an exit that the agent accepts: before it is sent, the worker's whole process group has been killed, so
nothing of its run goes on.

What calling tasks needs, gRPC among it, is imported when the first worker waits for runs it has submitted:
those that never do so need not pay for it, all others share it. To import gRPC starts nothing; what a fork
must not meet is its threads.

Three processes may die in any order. A worker: reaped here, reported. The agent: its end of the control
socket closes, the zygote kills every worker's group and leaves; if the zygote cannot, the kernel signals it
(`die_with`). The zygote: the kernel kills its workers, and the agent starts another zygote.
Invariant: no worker outlives the zygote, and the zygote does not outlive the agent.
"""

import argparse
import ctypes
import gc
import logging
import os
import random
import resource
import select
import signal
import socket
import struct
import sys
import threading
from collections.abc import Sequence
from contextlib import suppress
from importlib import import_module
from pathlib import Path
from typing import Final, NoReturn

from taskyard_agent.runner.serving import CannotServe, registered
from taskyard_contract.programs.dying_with_parent import die_with
from taskyard_contract.programs.log_levels import log_level
from taskyard_contract.programs.log_lines import log_to_stderr

SPAWN: Final = struct.Struct("<I")
"""Request: number of the worker; its data socket, control socket and board come with it."""
ANSWER: Final = struct.Struct("<BIii")
"""Answer: kind, number, process id, wait status."""
PREPARE: Final = 0
"""Number of no worker, without descriptors: workers forked from here on will call tasks themselves."""
SPAWNED: Final = 1
"""Kind of an answer: the worker has this process id."""
EXITED: Final = 2
"""Kind of an answer: the worker's process ended with this wait status."""
SPAWN_FDS: Final = 5
"""How many descriptors come with a request."""
PRELOAD: Final = ("taskyard_agent.runner.worker", "taskyard._durable_names", "asyncio")
"""What every worker needs. The second is what code of tasks names: it knows what belongs to it. The third is
what coroutine functions need, and large."""
PRELOAD_TO_CALL: Final = ("taskyard._preloading",)
"""What workers need besides whose code calls tasks."""
PRELOAD_TO_SERVE: Final = ("pydantic", "taskyard_contract.languages.json_values")
"""What workers need besides that are called with JSON, to convert it to the types that tasks declare."""

_LINE_BUFFERED: Final = 1
"""C's `_IOLBF` on Linux."""

_OWN: Final = frozenset(PRELOAD + PRELOAD_TO_CALL)

logger = logging.getLogger("taskyard_agent.zygote")


def preload(modules: Sequence[str]) -> None:
    """Import modules so that workers share them; one that is missing is somebody else's problem."""
    for name in modules:
        try:
            module = import_module(name)
            if name in _OWN:
                getattr(module, "preload", lambda: None)()
        except (Exception, SystemExit) as error:  # foreign code: it may call exit
            level = logging.DEBUG if name in _OWN and isinstance(error, ImportError) else logging.WARNING
            logger.log(level, "could not preload %s: %s", name, error)
    _warn_of_threads()


def _warn_of_threads() -> None:
    if (threads := _threads()) > 1:
        logger.warning(
            "a preloaded module has started %d threads, which workers will not have and may wait for;"
            " do not preload it",
            threads - 1,
        )


def freeze() -> None:
    """Let no collection look at what is loaded now: workers share it, and a look copies its pages."""
    gc.collect()
    gc.freeze()


def _threads() -> int:
    """Count the threads of this process, those that Python does not know among them."""
    try:
        return len(os.listdir("/proc/self/task"))
    except OSError:
        return threading.active_count()


class Zygote:
    """Forks workers and reports their exits."""

    def __init__(self, control: socket.socket, blobs: Path) -> None:
        """Take requests from `control`; workers find large payloads in `blobs`."""
        self._control = control
        self._blobs = blobs
        self._workers: dict[int, int] = {}  # process id -> number

    def serve(self) -> None:
        """Fork workers until the agent closes its end."""
        wake_read, wake_write = socket.socketpair()
        for end in (wake_read, wake_write):
            end.setblocking(False)
        signal.signal(signal.SIGCHLD, lambda signum, frame: None)
        signal.set_wakeup_fd(wake_write.fileno(), warn_on_full_buffer=False)
        poll = select.poll()
        poll.register(self._control, select.POLLIN)
        poll.register(wake_read, select.POLLIN)
        while True:
            ready = [descriptor for descriptor, _ in poll.poll()]
            if wake_read.fileno() in ready:
                with suppress(BlockingIOError):
                    wake_read.recv(4096)
                self._reap()
            if self._control.fileno() in ready and not self.answer(wake_read, wake_write):
                signal.set_wakeup_fd(-1)  # workers end from here on, and the sockets with this method
                return

    def answer(self, *private: socket.socket) -> bool:
        """Serve one request; False when the agent is gone."""
        message, descriptors, _, _ = socket.recv_fds(self._control, SPAWN.size, SPAWN_FDS)
        if not message:
            return False
        for descriptor in descriptors:
            os.set_inheritable(descriptor, False)  # programs that runs start must not hold them open
        (number,) = SPAWN.unpack(message)
        if number == PREPARE:
            preload(PRELOAD_TO_CALL)
            freeze()
            return True
        self._fork(number, descriptors, private)
        return True

    def _fork(self, number: int, descriptors: list[int], private: Sequence[socket.socket]) -> None:
        parent = os.getpid()
        try:
            pid = os.fork()
        except OSError as error:  # too many processes: those that there are go on
            logger.error("no worker can be forked: %s", error)
            for descriptor in descriptors:
                os.close(descriptor)
            self._tell(EXITED, number, 0, os.EX_OSERR << 8)
            return
        if pid == 0:
            try:
                for end in (self._control, *private):
                    end.close()
                become_worker(parent, descriptors, self._blobs)
            except BaseException:
                logger.exception("a worker could not begin")
            finally:
                os._exit(os.EX_SOFTWARE)  # what is above on the stack is the zygote's
        for descriptor in descriptors:
            os.close(descriptor)
        self._workers[pid] = number
        self._tell(SPAWNED, number, pid, 0)

    def _reap(self) -> None:
        """Report the workers that ended, and end what they left behind."""
        while True:
            try:
                ended = os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT)
            except ChildProcessError:
                return
            if ended is None:
                return
            # Before it is reaped its id cannot belong to anybody else.
            with suppress(ProcessLookupError, PermissionError):
                os.killpg(ended.si_pid, signal.SIGKILL)
            pid, status = os.waitpid(ended.si_pid, 0)
            number = self._workers.pop(pid, None)
            if number is not None:
                self._tell(EXITED, number, pid, status)

    def _tell(self, kind: int, number: int, pid: int, status: int) -> None:
        with suppress(OSError):  # the agent is gone, which the next poll says too
            self._control.send(ANSWER.pack(kind, number, pid, status))

    def end_workers(self) -> None:
        """Kill every worker with everything it started."""
        for pid in self._workers:
            with suppress(ProcessLookupError, PermissionError):
                os.killpg(pid, signal.SIGKILL)


def become_worker(zygote: int, descriptors: Sequence[int], blobs: Path) -> NoReturn:
    """Turn a fresh fork into a worker."""
    os.setsid()
    die_with(zygote, signal.SIGKILL)
    signal.set_wakeup_fd(-1)
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    signal.signal(signal.SIGINT, signal.default_int_handler)
    gc.enable()
    _seed_apart()
    worker = import_module("taskyard_agent.runner.worker")
    data, control = (socket.socket(fileno=descriptor) for descriptor in descriptors[:2])
    own_log = _redirect(descriptors[3:])
    worker.main(data, control, descriptors[2], blobs, own_log)
    os._exit(70)


def _redirect(pipes: Sequence[int]) -> int:
    """Make pipes the standard output and error; returns a descriptor of what the latter was."""
    own_log = os.dup(2)
    for pipe, standard in zip(pipes, (1, 2), strict=True):
        os.dup2(pipe, standard)
        os.close(pipe)
    # What libraries print with C's stdio is buffered as for a file, and would come when the worker ends.
    with suppress(OSError, AttributeError, ValueError):
        libc = ctypes.CDLL(None)
        libc.setvbuf(ctypes.c_void_p.in_dll(libc, "stdout"), None, _LINE_BUFFERED, 0)
    return own_log


def _seed_apart() -> None:
    """Let each worker draw other random numbers; what is imported later begins with a seed of its own."""
    random.seed()
    numbers = sys.modules.get("numpy.random")
    if numbers is not None:
        numbers.seed()


def main(argv: Sequence[str] | None = None) -> None:
    """Import, freeze, and fork until the agent is gone."""
    parser = argparse.ArgumentParser(prog="taskyard-zygote", description=__doc__)
    parser.add_argument("--agent", type=int, required=True, help="process id of the agent")
    parser.add_argument("--control", type=int, required=True, help="descriptor of the control socket")
    parser.add_argument("--blobs", type=Path, required=True, help="directory of large payloads")
    parser.add_argument("--preload", action="append", default=[], help="module to import before forking")
    parser.add_argument("--serve", action="append", default=[], help="module whose tasks workers serve")
    parser.add_argument("--descriptors", type=int, help="how many files workers may have open")
    arguments = parser.parse_args(argv)
    if arguments.descriptors is not None:
        _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        resource.setrlimit(resource.RLIMIT_NOFILE, (arguments.descriptors, hard))
    log_to_stderr(log_level(os.environ))
    # Its own session: a Ctrl-C in the terminal is the agent's to handle.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    die_with(arguments.agent, signal.SIGTERM)
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(line_buffering=True)
    preload((*PRELOAD, *arguments.preload))
    _serve(arguments.serve)
    control = socket.socket(fileno=arguments.control)
    zygote = Zygote(control, arguments.blobs)
    signal.signal(signal.SIGTERM, lambda signum, frame: _leave(zygote))
    freeze()
    try:
        zygote.serve()
    finally:
        _leave(zygote)


def _serve(modules: Sequence[str]) -> None:
    """Register tasks for the workers; a zygote that cannot ends, and after a while there is another one."""
    if not modules:
        return
    preload(PRELOAD_TO_SERVE)
    try:
        registered.serve(modules)
    except CannotServe as error:
        logger.error("%s", error)
        os._exit(os.EX_UNAVAILABLE)
    _warn_of_threads()


def _leave(zygote: Zygote) -> NoReturn:
    zygote.end_workers()
    os._exit(0)


if __name__ == "__main__":
    main()
