"""``taskyard asset``: what runs have made, and of what."""

import json
from typing import Annotated

import typer

from taskyard.cli.exits import CliError
from taskyard.cli.plain_help import Commands
from taskyard.cli.server_option import ServerOption, calls_of
from taskyard.cli.views.columns import Column
from taskyard.cli.views.output import (
    JsonOption,
    clock_time,
    moment_cell,
    print_heading,
    print_json,
    print_pairs,
    print_table,
    writable,
)

app = Commands(help="Look at assets, and who made them.")

KeyArgument = Annotated[
    str, typer.Argument(metavar="KEY", help="An asset, as 'asset ls' names it.", show_default=False)
]
_SHOWN = 10


@app.command("ls")
def ls(
    server: ServerOption = "",
    prefix: Annotated[
        str, typer.Option(metavar="TEXT", help="Only keys that begin like this.", show_default=False)
    ] = "",
    as_json: JsonOption = False,
) -> None:
    """List assets, in the order of their keys."""
    from taskyard._engine.assets.records import KIND, record_of
    from taskyard.cli.views.left import asset_document, microseconds, outcome

    with calls_of(server) as api:
        found = [record_of(each) for each in api.documents(KIND, prefix)]
    if as_json:
        print_json([asset_document(each) for each in found])
    elif not found:
        print("no assets")
    else:
        rows = [
            (
                each.asset.key,
                "" if each.latest is None else moment_cell(microseconds(each.latest.at)),
                outcome(each.latest),
                "" if each.latest is None else each.latest.task,
                str(each.count),
            )
            for each in found
        ]
        columns = (
            Column("ASSET", least=16),
            Column("MADE", rank=1),
            Column("LAST", rank=1),
            Column("TASK", rank=2),
            Column("TIMES", rank=3),
        )
        print_table(columns, rows)


@app.command("inspect")
def inspect(key: KeyArgument, server: ServerOption = "", as_json: JsonOption = False) -> None:
    """Show an asset, and the last times that it was made."""
    from taskyard._engine.assets.records import KIND, record_of
    from taskyard.cli.views.left import asset_document, microseconds, outcome

    with calls_of(server) as api:
        document = api.get_document(KIND, key) if key else None
    if document is None:
        raise CliError(_missing(key))
    found = record_of(document)
    if as_json:
        print_json(asset_document(found))
        return
    properties = {} if found.asset.properties is None else found.asset.properties.model_dump()
    said = [(name, _shown(value)) for name, value in properties.items() if value]
    pairs = [("asset", found.asset.key), *said, ("times", str(found.count))]
    if found.latest is not None:
        latest = found.latest
        pairs += [
            ("of", ", ".join(latest.upstream)),
            ("by", _shown(latest.materialized_by or "")),
            ("metadata", json.dumps(latest.metadata) if latest.metadata else ""),
        ]
    print_pairs([pair for pair in pairs if pair[1]])
    if found.materializations:
        print_heading("made")
        rows = [
            (clock_time(microseconds(each.at)), outcome(each), each.run_name, each.run_id)
            for each in reversed(found.materializations[-_SHOWN:])
        ]
        print_table((Column("AT"), Column("END"), Column("RUN", least=8), Column("ID")), rows)


@app.command("forget")
def forget(key: KeyArgument, server: ServerOption = "") -> None:
    """Forget what is recorded of an asset; the asset itself stays where it is."""
    from taskyard._engine.assets.records import KIND
    from taskyard._network.server.kept_documents import KeptDocuments

    with calls_of(server) as api:
        if not key or not KeptDocuments(api, KIND).delete(key):
            raise CliError(_missing(key))
    print(f"forgot {key}")


def _missing(key: str) -> str:
    return f"nothing is recorded of an asset '{key}'; 'taskyard asset ls' shows those there are"


def _shown(value: object) -> str:
    return writable(value) if isinstance(value, str) else json.dumps(value)
