"""``taskyard block``: configuration that programs have saved. What is secret in it is never shown."""

import json
from typing import TYPE_CHECKING, Annotated

import typer

from taskyard.cli.exits import CliError
from taskyard.cli.plain_help import Commands
from taskyard.cli.server_option import ServerOption, calls_of
from taskyard.cli.views.columns import Column
from taskyard.cli.views.output import (
    JsonOption,
    clock_time,
    moment_cell,
    print_json,
    print_pairs,
    print_table,
)

if TYPE_CHECKING:
    from taskyard_api.v1.document_service_pb2 import Document

app = Commands(help="Look at saved blocks, and delete them.")

BlockArgument = Annotated[
    str,
    typer.Argument(metavar="TYPE/NAME", help="A block, as 'block ls' names it.", show_default=False),
]


@app.command("ls")
def ls(
    server: ServerOption = "",
    block_type: Annotated[
        str, typer.Option("--type", metavar="TYPE", help="Only blocks of this type.", show_default=False)
    ] = "",
    everything: Annotated[
        bool, typer.Option("--all", help="Also those without a name, which programs have saved.")
    ] = False,
    as_json: JsonOption = False,
) -> None:
    """List saved blocks, in the order of their types and names."""
    from taskyard.blocks.stored import BLOCK, block_of
    from taskyard.cli.views.kept import block_document

    with calls_of(server) as api:
        found = list(api.documents(BLOCK, f"{block_type}/" if block_type else ""))
    shown = [each for each in found if everything or not block_of(each).anonymous]
    if as_json:
        print_json([block_document(each) for each in shown])
    elif not shown:
        print("no blocks")
    else:
        rows = [(each.name, moment_cell(each.updated_us), _secrets(each)) for each in shown]
        print_table((Column("BLOCK", least=16), Column("CHANGED", rank=1), Column("SECRETS", rank=2)), rows)


@app.command("inspect")
def inspect(block: BlockArgument, server: ServerOption = "", as_json: JsonOption = False) -> None:
    """Show a saved block, with asterisks for what is secret in it."""
    from taskyard.blocks.stored import BLOCK
    from taskyard.cli.views.kept import block_document

    with calls_of(server) as api:
        found = api.get_document(BLOCK, block) if block else None
    if found is None:
        raise CliError(_missing(block))
    document = block_document(found)
    if as_json:
        print_json(document)
        return
    fields = [(name, json.dumps(value)) for name, value in document["data"].items()]
    print_pairs(
        [("block", found.name), ("id", document["id"]), ("changed", clock_time(found.updated_us)), *fields]
    )


@app.command("delete")
def delete(block: BlockArgument, server: ServerOption = "") -> None:
    """Delete a saved block."""
    from taskyard._network.server.kept_documents import KeptDocuments
    from taskyard.blocks.stored import BLOCK

    with calls_of(server) as api:
        if not block or not KeptDocuments(api, BLOCK).delete(block):
            raise CliError(_missing(block))
    print(f"deleted {block}")


def _missing(block: str) -> str:
    return f"there is no block '{block}'; 'taskyard block ls' shows those there are, as TYPE/NAME"


def _secrets(document: "Document") -> str:
    return "yes" if document.has_secret else ""
