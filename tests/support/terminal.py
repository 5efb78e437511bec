"""A terminal in which a program is run, and what stands in it afterwards: tmux, or a bare pty without it."""

import os
import pty
import shlex
import shutil
import subprocess
import sys
import threading
from collections.abc import Mapping, Sequence
from itertools import count
from pathlib import Path
from typing import Final

from support.programs import Stage

TMUX: Final = shutil.which("tmux")
WIDTH: Final = 200
HEIGHT: Final = 50
_ENDED: Final = "ended"
_numbers: Final = count(1)


def shown(command: Sequence[str], environment: Mapping[str, str], folder: Path, seconds: float) -> str:
    """Run a program in a terminal to its end, and return all lines that stand in it then."""
    if TMUX is None:
        return _in_pty(command, environment, seconds)
    return _in_tmux(TMUX, command, environment, folder, seconds)


def shown_of_file(stage: Stage, path: Path, seconds: float) -> str:
    """Run a Python program of a stage in a terminal to its end; returns all lines that stand in it then."""
    return shown([sys.executable, str(path)], stage.environment, stage.home, seconds)


def _in_tmux(
    tmux: str, command: Sequence[str], environment: Mapping[str, str], folder: Path, seconds: float
) -> str:
    """Use a tmux of its own: its socket lies in the folder of the test, and nobody's settings are read."""
    own = [tmux, "-S", str(folder / f"tmux-{next(_numbers)}.sock"), "-f", "/dev/null"]
    surroundings = {**environment, "TERM": "screen-256color"}

    def tell(*words: str) -> str:
        done = subprocess.run(
            [*own, *words], env=surroundings, check=True, capture_output=True, text=True, timeout=seconds
        )
        return done.stdout

    # The window stays when the program has ended, until what stands in it was read.
    line = f"{shlex.join(command)}; {shlex.join([*own, 'wait-for', '-S', _ENDED])}; exec sleep {2 * seconds}"
    size = ["-x", str(WIDTH), "-y", str(HEIGHT)]
    history = ["start-server", ";", "set", "-g", "history-limit", "5000", ";"]
    tell(*history, "new-session", "-d", *size, "sh", "-c", line)
    try:
        tell("wait-for", _ENDED)
        return tell("capture-pane", "-p", "-J", "-S", "-")
    finally:
        tell("kill-server")


def _in_pty(command: Sequence[str], environment: Mapping[str, str], seconds: float) -> str:
    ours, theirs = pty.openpty()
    program = subprocess.Popen(
        command, env=dict(environment), stdin=theirs, stdout=theirs, stderr=theirs, start_new_session=True
    )
    os.close(theirs)
    late = threading.Timer(seconds, program.kill)
    late.start()
    try:
        data = b"".join(iter(lambda: _read(ours), b""))
        program.wait(seconds)
    finally:
        late.cancel()
        os.close(ours)
    return data.decode(errors="replace").replace("\r\n", "\n")


def _read(descriptor: int) -> bytes:
    try:
        return os.read(descriptor, 65536)
    except OSError:  # the other end was closed
        return b""
