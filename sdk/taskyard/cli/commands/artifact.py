"""``taskyard artifact``: what runs have left for people to see."""

import json
from typing import Annotated, Any
from uuid import UUID

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
    writable,
)

app = Commands(help="Look at artifacts, and delete them.")

ArtifactArgument = Annotated[
    str,
    typer.Argument(metavar="KEY|ID", help="The key of artifacts, or the id of one.", show_default=False),
]


@app.command("ls")
def ls(
    server: ServerOption = "",
    everything: Annotated[bool, typer.Option("--all", help="All versions, and those without a key.")] = False,
    as_json: JsonOption = False,
) -> None:
    """List the newest artifact of each key, in the order of the keys."""
    from taskyard.cli.views.left import artifact_document, microseconds

    with calls_of(server) as api:
        store = _store(api)
        found = [(each, 1) for each in store.all()] if everything else list(store.newest_by_key())
    if as_json:
        print_json([artifact_document(each) for each, _ in found])
    elif not found:
        print("no artifacts")
    else:
        rows = [
            (
                each.key or "",
                each.type or "",
                moment_cell(microseconds(each.updated)),
                str(count),
                str(each.id),
            )
            for each, count in found
        ]
        columns = (
            Column("KEY", least=12),
            Column("TYPE", rank=1),
            Column("CHANGED", rank=1),
            *(() if everything else (Column("VERSIONS", rank=2),)),
            Column("ID", least=8),
        )
        print_table(columns, [(*row[:3], row[4]) for row in rows] if everything else rows)


@app.command("inspect")
def inspect(artifact: ArtifactArgument, server: ServerOption = "", as_json: JsonOption = False) -> None:
    """Show an artifact: the newest one of a key, or the one with an id."""
    from taskyard.cli.views.left import artifact_document, microseconds

    with calls_of(server) as api:
        found = _found(_store(api), artifact)
    if as_json:
        print_json(artifact_document(found))
        return
    pairs = [
        ("key", found.key),
        ("id", str(found.id)),
        ("type", found.type),
        ("about", found.description),
        ("flow run", found.flow_run_id and str(found.flow_run_id)),
        ("task run", found.task_run_id and str(found.task_run_id)),
        ("made", clock_time(microseconds(found.created))),
        ("changed", clock_time(microseconds(found.updated))),
    ]
    print_pairs([(name, writable(value)) for name, value in pairs if value])
    print()
    print(writable(found.data) if isinstance(found.data, str) else json.dumps(found.data))


@app.command("delete")
def delete(artifact: ArtifactArgument, server: ServerOption = "") -> None:
    """Delete all artifacts of a key, or the one with an id."""
    with calls_of(server) as api:
        store = _store(api)
        first = _found(store, artifact)
        ids = [first.id] if _id_of(artifact) else [each.id for each in store.versions(artifact)]
        deleted = sum(store.delete(each) for each in ids)
    print(f"deleted {artifact}" if deleted == 1 else f"deleted {deleted} versions of {artifact}")


def _store(api: Any) -> Any:
    from taskyard._network.server.kept_documents import KeptDocuments
    from taskyard.client.reading.artifacts import ArtifactStore

    return ArtifactStore(lambda kind: KeptDocuments(api, kind))


def _found(store: Any, wanted: str) -> Any:
    artifact_id = _id_of(wanted)
    found = next(store.versions(wanted), None) if artifact_id is None else store.read(artifact_id)
    if found is None:
        raise CliError(f"there is no artifact '{wanted}'; 'taskyard artifact ls --all' shows those there are")
    return found


def _id_of(text: str) -> UUID | None:
    """Return the id that a text is, in the form that ids are shown in: keys may look like other forms."""
    try:
        found = UUID(text)
    except ValueError:
        return None
    return found if str(found) == text else None
