"""``taskyard agent``: what executes runs."""

from typing import TYPE_CHECKING, Annotated

import typer

from taskyard.cli.exits import EPILOG, CliError
from taskyard.cli.programs import become, flags
from taskyard.cli.requesting import ReasonOption, who_asks
from taskyard.cli.server_option import ServerOption, address_of, calls_of
from taskyard.cli.views.output import JsonOption, clock_time, gibibytes, print_json, print_table
from taskyard_contract.programs.extras import require_extra
from taskyard_contract.states import AgentState

if TYPE_CHECKING:
    from taskyard_api.v1.admin_service_pb2 import Agent

app = typer.Typer(help="Run an agent, look at agents, drain them.", epilog=EPILOG, no_args_is_help=True)


_COROUTINES = "How many async tasks go on together for each slot, in one process; 0: each takes a slot."


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
    coroutines: Annotated[int, typer.Option(min=0, max=5_000, metavar="N", help=_COROUTINES)] = 100,
) -> None:
    """Execute runs until SIGTERM or Ctrl-C. Prints one line when it is ready; logs go to standard error."""
    require_extra("agent", "'taskyard agent start'")
    many = [text for one in queue for text in ("--queue", one)]
    many += [text for one in label for text in ("--label", _checked_label(one))]
    many += [text for one in serve for text in ("--serve", one)]
    options = flags(
        {
            "--server": address_of(server),
            "--slots": slots,
            "--name": name,
            "--max-waiting": max_waiting,
            "--coroutines": coroutines,
        }
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
    from taskyard_contract.capabilities import pythons_of

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
            gibibytes(agent.memory_used_bytes, agent.memory_total_bytes),
            clock_time(agent.last_seen_us)[:-4],
            agent.version,
            ", ".join(pythons_of(agent.capabilities)),
            ", ".join(agent.queues),
            ", ".join(f"{name}={value}" for name, value in sorted(agent.labels.items())),
            agent.condition,
        )
        for agent in agents
    ]
    print_table(
        (
            "NAME", "STATE", "SLOTS", "HOLDS", "MEMORY", "LAST SEEN", "VERSION", "PYTHON", "QUEUES",
            "LABELS", "CONDITION",
        ),
        rows,
    )  # fmt: skip


@app.command("drain", epilog=EPILOG)
def drain(
    agent: Annotated[
        str, typer.Argument(metavar="AGENT", help="Id of an agent, or its name.", show_default=False)
    ],
    server: ServerOption = "",
    reason: ReasonOption = "",
) -> None:
    """Ask an agent to finish what it executes, take nothing more, and end."""
    with calls_of(server) as api:
        found = _only([each for each in api.agents() if agent in (each.agent_id, each.name)], agent)
        held = api.drain_agent(found.agent_id, reason=reason, requested_by=who_asks())
    print(f"{found.name} drains, {held} run{'s' if held != 1 else ''} to go")


def _only(found: "list[Agent]", name: str) -> "Agent":
    if not found:
        raise CliError(f"no agent is called '{name}'; 'taskyard agent ls' shows those there are")
    if len(found) > 1:
        raise CliError(
            f"{len(found)} agents are called '{name}'; give an id, as 'taskyard agent ls --json' shows it"
        )
    return found[0]
