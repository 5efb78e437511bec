"""``taskyard flow``: take up flow runs where they ended, or say what that would do."""

import os
import sys
from collections.abc import Callable
from enum import StrEnum
from typing import TYPE_CHECKING, Annotated, Any

import typer

from taskyard import settings
from taskyard.cli.exits import CliError, ExitCode, until_interrupted
from taskyard.cli.plain_help import Commands
from taskyard.cli.server_option import ServerOption, address_of, calls_of
from taskyard.cli.views.output import JsonOption, print_json

if TYPE_CHECKING:
    from taskyard._data.runs.resume_plan import ResumePlan

app = Commands(help="Resume flow runs that failed.")


class ChangedCode(StrEnum):
    """What becomes of results of tasks whose code was changed since."""

    REUSE = "reuse"
    RERUN = "rerun"


@app.callback()
def flows() -> None:
    """Resume flow runs that failed."""


@app.command("resume")
def resume(
    run: Annotated[
        str,
        typer.Argument(
            metavar="RUN",
            help="Id of a flow run, the part of it that 'run ls' shows, or its name.",
            show_default=False,
        ),
    ],
    server: ServerOption = "",
    dry_run: Annotated[
        bool,
        typer.Option("--dry-run", help="Say which results are reused and what is executed; execute nothing."),
    ] = False,
    entrypoint: Annotated[
        str,
        typer.Option(
            metavar="PLACE",
            help="Where the flow is: path.py:flow or module:flow. Without it: where the run has recorded it.",
            show_default=False,
        ),
    ] = "",
    changed_code: Annotated[
        ChangedCode,
        typer.Option(
            help="Results of tasks whose function was changed since: reuse them, or rerun the tasks."
        ),
    ] = ChangedCode.REUSE,
    completed: Annotated[bool, typer.Option("--completed", help="Even if the run has completed.")] = False,
    as_json: JsonOption = False,
) -> None:
    """Run the body of a flow run once more that failed, crashed or was cancelled, here.

    It is the next attempt of the same run. Tasks that had completed are not executed again, single children
    of a map too: their results are reused. With --dry-run the body runs, and its tasks do not.
    """
    from taskyard.cli.finding import find_run
    from taskyard_contract.ids import format_id

    with calls_of(server) as api:
        run_id = format_id(find_run(api, run).run_id)
    os.environ[settings.SERVER] = address_of(server)
    if os.getcwd() not in sys.path:
        sys.path.insert(0, os.getcwd())  # as if Python had been started here
    from taskyard.exceptions import MissingFlowError, ParameterBindError
    from taskyard.flow_runs import _ended_and_flow, plan_resumption, resume_flow

    options: dict[str, Any] = {"changed_code": changed_code.value, "completed": completed}
    try:
        options["flow"] = found = _ended_and_flow(run_id, None, entrypoint or None, completed)[1]
        _be_the_program_of(found)
        if dry_run:
            _print_plan(plan_resumption(run_id, **options), as_json=as_json)
        else:
            _execute(run_id, lambda: resume_flow(run_id, return_state=True, **options), as_json=as_json)
    except (MissingFlowError, FileNotFoundError, ModuleNotFoundError, ParameterBindError) as error:
        raise CliError(str(error)) from None
    except ValueError as error:
        raise CliError(str(error), ExitCode.USAGE) from None


def _be_the_program_of(flow: Any) -> None:
    """Let what the file of a flow defines be found in the main module, where its program had it.

    Results that are reused are read by these names; the main module of this command is nobody's own.
    """
    module, main = sys.modules.get(flow.fn.__module__), vars(sys.modules["__main__"])
    if module is not None and vars(module) is not main:
        main.update((name, value) for name, value in vars(module).items() if not name.startswith("__"))


def _execute(run_id: str, resume: Callable[[], Any], *, as_json: bool) -> None:
    import asyncio

    with until_interrupted():
        state = resume()
        if asyncio.iscoroutine(state):
            state = asyncio.run(state)
    if as_json:
        print_json({"id": run_id, "state": state.name, "message": state.message or ""})
    else:
        print(f"{run_id} {state.name}")
    if not state.is_completed():
        raise CliError(f"the flow run ended in state {state.name}: {state.message or 'no message'}")


def _print_plan(plan: "ResumePlan", *, as_json: bool) -> None:
    from taskyard.cli.views.resuming import plan_document, print_plan

    if as_json:
        print_json(plan_document(plan))
    else:
        print_plan(plan)
