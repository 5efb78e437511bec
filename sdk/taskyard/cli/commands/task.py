"""``taskyard task``: what can be called by name."""

from typing import Annotated

import typer

from taskyard.cli.plain_help import Commands
from taskyard.cli.server_option import ServerOption, calls_of
from taskyard.cli.views.columns import Column
from taskyard.cli.views.output import JsonOption, print_json, print_table

app = Commands(help="Look at tasks that agents have registered by name.")


@app.callback()
def task() -> None:
    """Look at tasks that agents have registered by name."""


@app.command("ls")
def ls(
    server: ServerOption = "",
    queue: Annotated[
        str, typer.Option(metavar="NAME", help="Only tasks served in this queue.", show_default=False)
    ] = "",
    as_json: JsonOption = False,
) -> None:
    """List tasks that can be called by name, whatever language they are written in.

    Agents that describe a task differently are listed apart.
    """
    from taskyard.cli.views.documents import task_document

    with calls_of(server) as api:
        tasks = list(api.tasks(queue))
    if as_json:
        print_json([task_document(task) for task in tasks])
    elif not tasks:
        print("no tasks; agents register theirs when they connect")
    else:
        rows = [
            (
                task.name,
                task.version,
                ", ".join(task.queues),
                ", ".join(task.encodings),
                str(len(task.agents)),
                " ".join(task.description.split()),
            )
            for task in tasks
        ]
        columns = (
            Column("NAME", least=16),
            Column("VERSION", rank=3),
            Column("QUEUES", least=7, rank=1),
            Column("ENCODINGS", least=12, rank=2),
            "AGENTS",
            Column("DESCRIPTION", least=12),
        )
        print_table(columns, rows)
