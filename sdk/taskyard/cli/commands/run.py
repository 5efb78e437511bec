"""``taskyard run``: look at runs, read their logs, cancel them."""

from enum import Enum
from typing import Annotated, Final

import typer

from taskyard.cli.exits import EPILOG, CliError
from taskyard.cli.requesting import ReasonOption, who_asks
from taskyard.cli.server_option import ServerOption, calls_of
from taskyard.cli.views.output import JsonOption, print_json
from taskyard_contract.states import FIRST_FINAL, RunKind, RunState, StateType, shown_as

app = typer.Typer(help="Look at runs, read their logs, cancel them.", epilog=EPILOG, no_args_is_help=True)

RunArgument = Annotated[
    str,
    typer.Argument(
        metavar="RUN", help="Id of a run, at least its first 8 digits, or its name.", show_default=False
    ),
]


class Kind(str, Enum):
    """What a list of runs can be narrowed to, in the words of ``--kind``."""

    FLOW = "flow"
    TASK = "task"


def _state_filter() -> dict[str, list[RunState]]:
    """Return which states each word stands for: a type, or the usual name of one state."""
    words: dict[str, list[RunState]] = {}
    for state in RunState:
        state_type, name = shown_as(state)
        for word in {state_type.value.lower(), name.lower()}:
            words.setdefault(word, []).append(state)
    return words


STATE_WORDS: Final = _state_filter()


@app.command("ls", epilog=EPILOG)
def ls(
    server: ServerOption = "",
    limit: Annotated[int, typer.Option(min=1, help="How many runs to list.")] = 20,
    kind: Annotated[Kind | None, typer.Option(help="Only flow runs, or only task runs.")] = None,
    state: Annotated[
        list[str],
        typer.Option(help="Only runs in this state, for example failed or notready. May be repeated."),
    ] = [],  # noqa: B006  # typer wants a literal, and nobody writes to it
    flow: Annotated[
        str, typer.Option(metavar="RUN", help="Only runs inside this flow run.", show_default=False)
    ] = "",
    name: Annotated[
        str, typer.Option(metavar="TEXT", help="Only runs whose name contains this.", show_default=False)
    ] = "",
    look_at_all: Annotated[
        bool, typer.Option("--all", help="Look for them among all runs, however long that takes.")
    ] = False,
    as_json: JsonOption = False,
) -> None:
    """List runs, newest first.

    What fits few runs is looked for among the newest, and it is said how far back; --all goes on from there.
    """
    states = [number for word in state for number in _states_of(word)]
    from taskyard.cli.finding import find_run
    from taskyard.cli.searching import Search
    from taskyard.cli.views.documents import run_document
    from taskyard.cli.views.runs import print_runs
    from taskyard_api.v1.run_service_pb2 import RunFilter

    wanted = RunFilter(states=[int(one) for one in states], name_contains=name)  # type: ignore[misc]  # equal
    if kind is not None:
        wanted.kind = int(RunKind[kind.name])  # type: ignore[assignment]  # numerically equal
    with calls_of(server) as api:
        if flow:
            wanted.flow_run_id = find_run(api, flow).run_id
        search = Search(api, wanted, limit, to_the_end=look_at_all)
        runs = list(search)
    if as_json:
        print_json([run_document(run) for run in runs])
    else:
        print_runs(runs)
    search.say_how_far()


def _states_of(word: str) -> list[RunState]:
    states = STATE_WORDS.get(word.lower())
    if states is None:
        types = ", ".join(kind.value.lower() for kind in StateType if kind is not StateType.PAUSED)
        raise typer.BadParameter(f"'{word}' is not a state; take one of {types}", param_hint="--state")
    return states


@app.command("show", epilog=EPILOG)
def show(run: RunArgument, server: ServerOption = "", as_json: JsonOption = False) -> None:
    """Show a run: its states so far, what it depends on, how it failed."""
    from taskyard.cli.finding import find_run
    from taskyard.cli.views.documents import run_document, state_document
    from taskyard.cli.views.runs import print_run

    with calls_of(server) as api:
        found = find_run(api, run)
        states = api.list_run_states(found.run_id)
        if as_json:
            print_json({**run_document(found), "states": [state_document(entry) for entry in states]})
        else:
            print_run(api, found, states)


@app.command("logs", epilog=EPILOG)
def logs(
    run: RunArgument,
    server: ServerOption = "",
    follow: Annotated[bool, typer.Option("--follow", "-f", help="Go on until the run has ended.")] = False,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print one JSON document; with --follow, one a line.")
    ] = False,
) -> None:
    """Print the log of a run and, for a flow run, of the runs inside it.

    With --follow the exit code says whether the run completed.
    """
    from taskyard.cli.finding import find_run
    from taskyard.cli.views import logs as view
    from taskyard.cli.views.documents import log_documents, state_of

    with calls_of(server) as api:
        found = find_run(api, run)
        if follow:
            ended = view.follow(api, found.run_id, view.print_json_lines if as_json else view.print_page)
            if int(ended.state) != RunState.COMPLETED:
                raise CliError(f"{ended.name} ended {state_of(ended)[1]}")
        elif as_json:
            pages = view.pages(api, found.run_id)
            print_json([record for page in pages for record in log_documents(page)])
        else:
            for page in view.pages(api, found.run_id):
                view.print_page(page)


@app.command("cancel", epilog=EPILOG)
def cancel(run: RunArgument, server: ServerOption = "", reason: ReasonOption = "") -> None:
    """Ask for a run to be cancelled. A flow run takes its open runs with it."""
    from taskyard.cli.finding import find_run
    from taskyard.cli.views.documents import state_of

    with calls_of(server) as api:
        found = find_run(api, run)
        if found.state >= FIRST_FINAL:
            print(f"{found.name} has ended already: {state_of(found)[1]}")
            return
        after = RunState(api.cancel_run(found.run_id, reason=reason, requested_by=who_asks()))
    if after in (RunState.CANCELLED, RunState.CANCELLING):
        print(f"{found.name} is {shown_as(after)[1]}")
    else:
        print(f"{found.name} ended before it could be cancelled: {shown_as(after)[1]}")
