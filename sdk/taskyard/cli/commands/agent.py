"""``taskyard agent``: what executes runs."""

from typing import Annotated

import typer

from taskyard.cli.exits import EPILOG
from taskyard.cli.programs import become, flags
from taskyard.cli.server_option import ServerOption, address_of, calls_of
from taskyard.cli.views.output import JsonOption, clock_time, print_json, print_table
from taskyard_contract.programs.extras import require_extra
from taskyard_contract.states import AgentState

app = typer.Typer(help="Run an agent, look at agents.", epilog=EPILOG, no_args_is_help=True)


@app.command("start", epilog=f"{EPILOG} Once the agent runs, its own codes hold: see docs/cli.md.")
def start(
    server: ServerOption = "",
    slots: Annotated[
        int | None,
        typer.Option(
            min=1, metavar="N", help="How many runs at the same time.", show_default="one per processor"
        ),
    ] = None,
    queue: Annotated[
        list[str],
        typer.Option(metavar="NAME", help="A queue to serve; may be repeated.", show_default="default"),
    ] = [],  # noqa: B006  # typer wants a literal, and nobody writes to it
    label: Annotated[
        list[str],
        typer.Option(
            metavar="NAME=VALUE", help="A label, for people and for tasks that ask for it; may be repeated."
        ),
    ] = [],  # noqa: B006  # as above
    serve: Annotated[
        list[str],
        typer.Option(
            metavar="MODULE",
            help="A module whose tasks are served by their names, to callers in any language; may be"
            " repeated.",
        ),
    ] = [],  # noqa: B006  # as above
    name: Annotated[
        str | None, typer.Option(metavar="NAME", help="A name for people.", show_default="made of the host's")
    ] = None,
    max_waiting: Annotated[
        int | None,
        typer.Option(
            min=1,
            metavar="N",
            help="How many runs may wait for runs they have submitted, each in a process of its own.",
            show_default="by free memory and open files",
        ),
    ] = None,
) -> None:
    """Execute runs until SIGTERM or Ctrl-C. Prints one line when it is ready; logs go to standard error."""
    require_extra("agent", "'taskyard agent start'")
    many = [text for one in queue for text in ("--queue", one)]
    many += [text for one in label for text in ("--label", _checked_label(one))]
    many += [text for one in serve for text in ("--serve", one)]
    options = flags(
        {"--server": address_of(server), "--slots": slots, "--name": name, "--max-waiting": max_waiting}
    )
    become("taskyard_agent", [*options, *many])


def _checked_label(text: str) -> str:
    name, separator, _ = text.partition("=")
    if not name or not separator:
        raise typer.BadParameter(f"'{text}' is not a label; give NAME=VALUE", param_hint="--label")
    return text


@app.command("ls", epilog=EPILOG)
def ls(server: ServerOption = "", as_json: JsonOption = False) -> None:
    """List agents, connected ones first."""
    from taskyard.cli.views.documents import agent_document, name_in

    with calls_of(server) as api:
        agents = list(api.agents())
    if as_json:
        print_json([agent_document(agent) for agent in agents])
        return
    if not agents:
        print("no agents; start one with 'taskyard agent start'")
        return
    rows = [
        (
            agent.name,
            name_in(AgentState, agent.state).capitalize(),
            str(agent.slots),
            str(agent.held_runs),
            clock_time(agent.last_seen_us)[:-4],
            agent.version,
            ", ".join(agent.queues),
            ", ".join(f"{name}={value}" for name, value in sorted(agent.labels.items())),
            agent.condition,
        )
        for agent in agents
    ]
    print_table(
        ("NAME", "STATE", "SLOTS", "HOLDS", "LAST SEEN", "VERSION", "QUEUES", "LABELS", "CONDITION"), rows
    )
