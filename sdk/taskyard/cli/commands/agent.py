"""``taskyard agent``: what executes runs."""

from typing import TYPE_CHECKING, Annotated

import typer

from taskyard.cli.exits import CliError
from taskyard.cli.plain_help import Commands, at_least
from taskyard.cli.programs import become, flags
from taskyard.cli.requesting import ReasonOption, who_asks
from taskyard.cli.server_option import ServerOption, address_of, calls_of
from taskyard.cli.views.columns import Column
from taskyard.cli.views.output import JsonOption, gibibytes, moment_cell, print_json, print_table
from taskyard_contract.programs.extras import require_extra
from taskyard_contract.states import AgentState

if TYPE_CHECKING:
    from taskyard_api.v1.admin_service_pb2 import Agent

app = Commands(help="Run an agent, look at agents, drain them.")


_COROUTINES = "How many async tasks go on together for each slot, in one process; 0: each takes a slot."
_BlobBytes = Annotated[
    int | None,
    typer.Option(
        callback=at_least(1),
        metavar="N",
        help="How many bytes of large values to keep in the agent's own directory, where it does not see that"
        " of the server.",
        show_default="2 GiB",
    ),
]


@app.command("start", epilog="Once the agent runs, its own exit codes hold: see docs/cli.md.")
def start(
    server: ServerOption = "",
    slots: Annotated[
        int | None,
        typer.Option(
            callback=at_least(1),
            metavar="N",
            help="How many runs at the same time.",
            show_default="one per processor",
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
            callback=at_least(1),
            metavar="N",
            help="How many runs may wait for runs they have submitted, each in a process of its own.",
            show_default="by free memory and open files",
        ),
    ] = None,
    coroutines: Annotated[int, typer.Option(callback=at_least(0), metavar="N", help=_COROUTINES)] = 100,
    blob_bytes: _BlobBytes = None,
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
            "--blob-bytes": blob_bytes,
        }
    )
    become("taskyard_agent", [*options, *many])


def _checked_label(text: str) -> str:
    name, separator, _ = text.partition("=")
    if not name or not separator:
        raise typer.BadParameter(f"'{text}' is not a label; give NAME=VALUE", param_hint="--label")
    return text


@app.command("ls")
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
            moment_cell(agent.last_seen_us),
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
            Column("NAME", least=12, tail=6),
            "STATE",
            "SLOTS",
            "HOLDS",
            Column("MEMORY", rank=2),
            Column("LAST SEEN", rank=5),
            Column("VERSION", rank=4),
            Column("PYTHON", rank=3),
            Column("QUEUES", least=7),
            Column("LABELS", least=10, rank=1),
            Column("CONDITION", least=14),
        ),
        rows,
    )


@app.command("drain")
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
