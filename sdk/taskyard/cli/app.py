"""Puts the commands together and turns errors into messages and exit codes, once for all commands.

Invariant: whatever Taskyard itself refuses ends in one line on standard error and a documented exit code,
never in a traceback.
"""

import sys
from collections.abc import Sequence
from typing import Annotated

import typer

from taskyard.cli.commands import (
    agent,
    artifact,
    asset,
    block,
    cache,
    dev,
    flow,
    server,
    storage,
    task,
    variable,
    version,
    watching,
)
from taskyard.cli.commands import run as run_commands
from taskyard.cli.exits import EPILOG, CliError, ExitCode
from taskyard.cli.plain_help import HELP_NAMES, Commands
from taskyard_contract.errors import ConnectionFailed, TaskyardError
from taskyard_contract.programs.extras import ExtraMissing
from taskyard_contract.programs.home_directory import HomeUnusable


def _print_version(wanted: bool) -> None:
    if wanted:
        version.version()
        raise typer.Exit


app = Commands(
    name="taskyard",
    epilog=EPILOG,
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings=HELP_NAMES,
)


@app.callback()
def taskyard(
    show_version: Annotated[
        bool,
        typer.Option(
            "--version", is_eager=True, help="Show which version this is and exit.", callback=_print_version
        ),
    ] = False,
) -> None:
    """Durable Python tasks and flows: run a yard, look at runs, cancel them."""


app.command("dev")(dev.dev)
app.add_typer(server.app, name="server")
app.add_typer(agent.app, name="agent")
app.add_typer(run_commands.app, name="run")
watching.add_to(run_commands.app)
app.add_typer(flow.app, name="flow")
app.add_typer(task.app, name="task")
app.add_typer(cache.app, name="cache")
app.add_typer(variable.app, name="variable")
app.add_typer(block.app, name="block")
app.add_typer(artifact.app, name="artifact")
app.add_typer(asset.app, name="asset")
app.command("prune")(storage.prune)
app.add_typer(storage.app, name="storage")
app.command("version")(version.version)


def run(arguments: Sequence[str] | None = None) -> int:
    """Run one command and return the exit code.

    Args:
        arguments: What follows the program's name; None takes it from the process.
    """
    try:
        app(args=arguments, prog_name="taskyard")
    except SystemExit as ending:
        return ending.code if isinstance(ending.code, int) else ExitCode.OK
    except CliError as error:
        return _report(str(error), error.code)
    except ExtraMissing as error:
        return _report(str(error), ExitCode.NOT_INSTALLED)
    except HomeUnusable as error:
        return _report(str(error), ExitCode.USAGE)
    except TaskyardError as error:
        lost = isinstance(error, ConnectionFailed)
        return _report(str(error), ExitCode.UNREACHABLE if lost else ExitCode.FAILED)
    return ExitCode.OK


def _report(message: str, code: ExitCode) -> int:
    print(f"taskyard: {message}", file=sys.stderr)
    return code
