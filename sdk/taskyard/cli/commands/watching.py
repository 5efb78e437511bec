"""``taskyard run watch`` and ``run tree``: how far a run is, and what it has called."""

from typing import Annotated

import typer

from taskyard.cli.commands.run import RunArgument
from taskyard.cli.exits import CliError, until_interrupted
from taskyard.cli.plain_help import at_least
from taskyard.cli.server_option import ServerOption, calls_of
from taskyard.cli.views.output import JsonOption, print_json
from taskyard_contract.states import RunState


def add_to(app: typer.Typer) -> None:
    """Add the commands to those of ``taskyard run``."""
    app.command("watch")(watch)
    app.command("tree")(tree)


def watch(run: RunArgument, server: ServerOption = "") -> None:
    """Show how far a run is until it has ended: a line on a terminal, else its states on standard error.

    The exit code says whether it completed. Ctrl-C leaves it running.
    """
    from taskyard.cli.finding import find_run
    from taskyard.cli.views.documents import state_of
    from taskyard.cli.views.watching import print_end, watch_run

    with calls_of(server) as api:
        found = find_run(api, run)
        with until_interrupted():
            ended, inside = watch_run(api, found)
    print_end(ended, inside)
    if int(ended.state) != RunState.COMPLETED:
        raise CliError(f"{ended.name} ended {state_of(ended)[1]}")


def tree(
    run: RunArgument,
    server: ServerOption = "",
    depth: Annotated[
        int, typer.Option(callback=at_least(1), metavar="N", help="How deep to look into nested flow runs.")
    ] = 5,
    as_json: JsonOption = False,
) -> None:
    """Show what a run has called, and what that has called: runs of the same task in one line."""
    from taskyard.cli.finding import find_run
    from taskyard.cli.tree import tree_of
    from taskyard.cli.views.tree import node_document, print_tree

    with calls_of(server) as api:
        root = tree_of(api, find_run(api, run), depth)
    if as_json:
        print_json(node_document(root))
    else:
        print_tree(root)
