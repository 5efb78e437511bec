"""``taskyard run``: look at runs, follow them, read their logs, cancel them."""

from typing import TYPE_CHECKING, Annotated

import typer

from taskyard.cli.commands.run_options import (
    AllOption,
    CountOption,
    FlowOption,
    KindOption,
    LimitOption,
    NameOption,
    OldestOption,
    QueueOption,
    SinceOption,
    StateOption,
    TagOption,
    TaskOption,
    since_us,
    states_of,
)
from taskyard.cli.exits import CliError, until_interrupted
from taskyard.cli.plain_help import Commands
from taskyard.cli.requesting import ReasonOption, who_asks
from taskyard.cli.server_option import ServerOption, calls_of
from taskyard.cli.views.output import JsonOption, print_json
from taskyard_contract.states import FIRST_FINAL, RunKind, RunState, shown_as

if TYPE_CHECKING:
    from collections.abc import Sequence

    from taskyard.cli.views.inside import Inside
    from taskyard_api.v1.run_service_pb2 import Run, RunStateEntry

app = Commands(help="Look at runs, read their logs, cancel them.")

RunArgument = Annotated[
    str,
    typer.Argument(
        metavar="RUN",
        help="Id of a run, the part of it that 'run ls' shows, or its name.",
        show_default=False,
    ),
]


@app.command("ls")
def ls(
    server: ServerOption = "",
    limit: LimitOption = 20,
    kind: KindOption = None,
    state: StateOption = [],  # noqa: B006  # typer wants a literal, and nobody writes to it
    flow: FlowOption = "",
    name: NameOption = "",
    task: TaskOption = "",
    tag: TagOption = [],  # noqa: B006  # as above
    queue: QueueOption = "",
    since: SinceOption = "",
    oldest: OldestOption = False,
    count: CountOption = False,
    look_at_all: AllOption = False,
    as_json: JsonOption = False,
) -> None:
    """List runs, newest first, or count them.

    What fits few runs is looked for among the newest, and it is said how far back; --all goes on from there.
    """
    states, submitted_from_us = [number for word in state for number in states_of(word)], since_us(since)
    from taskyard.cli.finding import find_run
    from taskyard.cli.searching import Search
    from taskyard.cli.views.documents import run_document
    from taskyard.cli.views.runs import print_counts, print_runs
    from taskyard_api.v1.run_service_pb2 import RunFilter

    wanted = RunFilter(
        states=[int(one) for one in states],  # type: ignore[misc]  # numerically equal
        name_contains=name,
        task_name=task,
        tags=tag,
        queue=queue,
        submitted_from_us=submitted_from_us,
    )
    if kind is not None:
        wanted.kind = int(RunKind[kind.name])  # type: ignore[assignment]  # numerically equal
    with calls_of(server) as api:
        if flow:
            wanted.flow_run_id = find_run(api, flow).run_id
        if count:
            print_counts(api.count_runs(wanted), as_json=as_json)
            return
        search = Search(api, wanted, limit, to_the_end=look_at_all, oldest_first=oldest)
        runs = list(search)
    if as_json:
        print_json([run_document(run) for run in runs])
    else:
        print_runs(runs)
    search.say_how_far()


@app.command("show")
def show(
    run: RunArgument,
    server: ServerOption = "",
    wait: Annotated[bool, typer.Option("--wait", help="Wait until it has ended, and say so.")] = False,
    as_json: JsonOption = False,
) -> None:
    """Show a run: its states so far, what it depends on, how it failed.

    With --wait its states are told on standard error as they come, and the exit code says whether it
    completed.
    """
    from taskyard.cli.finding import find_run
    from taskyard.cli.views.documents import wait_document
    from taskyard.cli.views.inside import inside, print_inside
    from taskyard.cli.views.runs import print_run, wait_for

    with calls_of(server) as api:
        found = find_run(api, run)
        if wait and found.state < FIRST_FINAL:
            with until_interrupted():
                wait_for(api, found)
        found = api.get_run(found.run_id, full=True)
        states = api.list_run_states(found.run_id)
        explained = api.explain(found.run_id) if found.state < FIRST_FINAL else None
        waits = explained.waits if explained is not None else ()
        within = inside(api, found) if int(found.kind) == RunKind.FLOW else None
        if as_json:
            print_json(
                {**_shown_document(found, states, within), "waits": [wait_document(wait) for wait in waits]}
            )
        else:
            print_run(api, found, states, waits)
            if within is not None:
                print_inside(within, found)
    if wait:
        _check_completed(found)


def _shown_document(
    run: "Run", states: "Sequence[RunStateEntry]", within: "Inside | None"
) -> dict[str, object]:
    from taskyard._data.values.shown_parameters import parameter_document
    from taskyard.cli.views.documents import run_document, state_document
    from taskyard.cli.views.inside import inside_document

    return {
        **run_document(run),
        "parameters": parameter_document(run),
        "states": [state_document(entry) for entry in states],
        "inside": None if within is None else inside_document(within),
    }


def _check_completed(ended: "Run") -> None:
    from taskyard.cli.views.documents import state_of

    if int(ended.state) != RunState.COMPLETED:
        raise CliError(f"{ended.name} ended {state_of(ended)[1]}")


@app.command("why")
def why(run: RunArgument, server: ServerOption = "", as_json: JsonOption = False) -> None:
    """Say why a run is not executed yet: what it waits for, what decides first.

    Of a run that waits for others the causes of their waits are said, too.
    """
    from taskyard.cli.finding import find_run
    from taskyard.cli.views.documents import explanation_document
    from taskyard.cli.views.waits import print_explanation

    with calls_of(server) as api:
        found = find_run(api, run)
        explained = api.explain(found.run_id)
    if explained is None:
        raise CliError(
            "the server is of a release that does not say why runs wait; 'taskyard run show' has what it says"
        )
    if as_json:
        print_json(explanation_document(found, explained))
    else:
        print_explanation(found, explained)


@app.command("logs")
def logs(
    run: RunArgument,
    server: ServerOption = "",
    follow: Annotated[
        bool, typer.Option("--follow", "-f", help="Go on until the run has ended and its log is complete.")
    ] = False,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print one JSON document; with --follow, one a line.")
    ] = False,
) -> None:
    """Print the log of a run and, for a flow run, of the runs inside it.

    With --follow the exit code says whether the run completed.
    """
    from taskyard.cli.finding import find_run
    from taskyard.cli.views import logs as view
    from taskyard.cli.views.documents import log_documents

    with calls_of(server) as api:
        found = find_run(api, run)
        if follow:
            show_page = view.print_json_lines if as_json else view.print_page
            with until_interrupted():
                for message in api.tail_run_logs(found.run_id):
                    view.print_removal(message)
                    show_page(message)
            _check_completed(api.get_run(found.run_id))
        elif as_json:
            pages = view.pages(api, found.run_id)
            print_json([record for page in pages for record in log_documents(page)])
        else:
            for page in view.pages(api, found.run_id):
                view.print_page(page)


@app.command("cancel")
def cancel(run: RunArgument, server: ServerOption = "", reason: ReasonOption = "") -> None:
    """Ask for a run to be cancelled. A flow run takes its open runs with it."""
    from taskyard.cli.finding import find_run
    from taskyard.cli.views.documents import state_of

    with calls_of(server) as api:
        found = find_run(api, run, to_change=True)
        if found.state >= FIRST_FINAL:
            print(f"{found.name} has ended already: {state_of(found)[1]}")
            return
        after = RunState(api.cancel_run(found.run_id, reason=reason, requested_by=who_asks()))
    if after in (RunState.CANCELLED, RunState.CANCELLING):
        print(f"{found.name} is {shown_as(after)[1]}")
    else:
        print(f"{found.name} ended before it could be cancelled: {shown_as(after)[1]}")
