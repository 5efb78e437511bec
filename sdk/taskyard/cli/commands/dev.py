"""``taskyard dev``: a yard in the foreground, for the person at this machine.

Invariant: the yard ends with this command, however this command ends; on Linux also when it is killed.
"""

import os
import shlex
import signal
import subprocess
import sys
from pathlib import Path
from types import FrameType
from typing import Annotated, Final

import typer

from taskyard import settings
from taskyard.cli.plain_help import at_least
from taskyard.cli.programs import command_of, flags
from taskyard_contract.programs.dying_with_parent import before_exec
from taskyard_contract.programs.extras import require_extra
from taskyard_contract.programs.home_directory import home_directory, yard_address

_ENDS: Final = b"taskyard yard ends: what is running has 30 seconds, Ctrl-C once more ends it at once\n"
_ENDS_NOW: Final = b"taskyard yard ends at once\n"


def dev(
    directory: Annotated[
        Path | None,
        typer.Option(
            "--home",
            metavar="DIR",
            help="Directory of the yard.",
            show_default="$TASKYARD_HOME or ~/.taskyard",
        ),
    ] = None,
    slots: Annotated[
        int | None,
        typer.Option(
            callback=at_least(1),
            metavar="N",
            help="How many runs at the same time.",
            show_default="one per processor",
        ),
    ] = None,
) -> None:
    """Run a yard in the foreground: control plane, agent and database in one directory.

    Programs that use Taskyard and name no server find it by themselves. Ctrl-C ends it.
    """
    for extra in ("server", "agent"):
        require_extra(extra, "'taskyard dev'")
    where = home_directory({settings.HOME: str(directory)}) if directory else settings.home()
    arguments = flags({"--home": where, "--idle-seconds": 0, "--slots": slots})
    raise typer.Exit(_supervise(command_of("taskyard_controlplane", ["yard", *arguments]), where))


def _supervise(command: list[str], directory: Path) -> int:
    """Run the yard to its end and return its exit code.

    It has a session of its own, so that Ctrl-C reaches this process alone, which passes it on once.
    """
    process: subprocess.Popen[str] | None = None
    signals: list[int] = []

    def pass_on(number: int, frame: FrameType | None) -> None:
        if process is None:
            raise typer.Exit(128 + number)
        # Not by `print`: a signal may come while another line is written.
        os.write(sys.stderr.fileno(), _ENDS_NOW if signals else _ENDS)
        signals.append(number)
        process.terminate()

    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, pass_on)
    process = subprocess.Popen(
        command,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        text=True,
        start_new_session=True,
        preexec_fn=before_exec(signal.SIGTERM),
    )
    with process:
        assert process.stdout is not None
        if process.stdout.readline():
            print(_ready_line(directory), flush=True)
        code = process.wait()
    if signals and code == -signal.SIGTERM:  # it had not begun to serve: so it was this signal that ended it
        return 128 + signals[0]
    return code if code >= 0 else 128 - code


def _ready_line(directory: Path) -> str:
    address = yard_address(directory)
    if directory == settings.home():
        hint = "run your program in another terminal, 'taskyard run ls' shows its runs"
    else:
        hint = f"run your program in another terminal with TASKYARD_SERVER={shlex.quote(address)}"
    return f"taskyard yard ready on {address}; {hint}; Ctrl-C ends it"
