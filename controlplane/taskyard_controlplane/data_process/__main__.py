"""Entry point of the data process, which only the control plane starts.

It ends when it is told to, and when the control plane ends, however that does: the kernel says so, or the
pipe by which the instructions came, which the control plane keeps open.
"""

import logging
import os
import signal
import socket
import sys
import threading
import time
from typing import Any, Final

from taskyard_contract.programs.dying_with_parent import die_with
from taskyard_contract.programs.log_lines import log_to_stderr
from taskyard_contract.programs.private_files import be_private
from taskyard_controlplane.blobs.directory import DirectoryStore
from taskyard_controlplane.data_process.instructions import Instructions
from taskyard_controlplane.data_process.requests import Desk
from taskyard_controlplane.data_process.server import DataServer
from taskyard_controlplane.data_process.tickets import Seal
from taskyard_controlplane.data_process.uploads import Uploads

NICE: Final = 10
"""Whoever waits for runs comes first, wherever there is something to share."""
LOOK_SECONDS: Final = 1.0
"""How late a caller that is too slow may be noticed."""
SWITCH_INTERVAL_SECONDS: Final = 0.0005


def main() -> None:
    """Serve until somebody says that it is enough."""
    stopping = threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: stopping.set())
    told = Instructions.of(sys.stdin.buffer.readline())
    die_with(told.parent, signal.SIGTERM)
    log_to_stderr(told.log_level)
    be_private()
    os.nice(NICE)
    sys.setswitchinterval(SWITCH_INTERVAL_SECONDS)
    store = DirectoryStore(told.directory, gives_way=True)
    desk = Desk(store, Seal(told.key, time.monotonic), Uploads())
    server = DataServer(socket.socket(fileno=told.listener), desk)
    server.start()
    threading.Thread(target=_wait_for_end, args=(stopping,), name="parent", daemon=True).start()
    _say_ready()
    while not stopping.wait(LOOK_SECONDS):
        server.cut_late()
    server.stop()


def _wait_for_end(stopping: threading.Event) -> None:
    """Notice the end of the control plane where the kernel does not tell."""
    sys.stdin.buffer.read()
    stopping.set()


def _say_ready() -> None:
    """Tell the control plane, which waits for a byte."""
    os.write(sys.stdout.fileno(), b"\n")
    with open(os.devnull, "wb") as nothing:
        os.dup2(nothing.fileno(), sys.stdout.fileno())


def leave() -> Any:
    """End at once: threads may still wait for somebody."""
    logging.shutdown()
    sys.stderr.flush()
    os._exit(0)


if __name__ == "__main__":
    main()
    leave()
