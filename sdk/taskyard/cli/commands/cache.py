"""``taskyard cache``: which results there are under cache keys, and removing them."""

from datetime import UTC, datetime
from itertools import islice
from typing import TYPE_CHECKING, Annotated

import typer

from taskyard.cli.exits import CliError
from taskyard.cli.moments import moment_us
from taskyard.cli.plain_help import Commands, at_least
from taskyard.cli.server_option import ServerOption, calls_of
from taskyard.cli.views.columns import Column
from taskyard.cli.views.output import (
    NAMES,
    JsonOption,
    clock_time,
    id_cells,
    moment_cell,
    print_json,
    print_pairs,
    print_table,
)
from taskyard_contract.ids import format_id

if TYPE_CHECKING:
    from taskyard_api.v1.cache_service_pb2 import CacheEntry

app = Commands(help="Look at cached results, and clear them.")


@app.command("ls")
def ls(
    server: ServerOption = "",
    limit: Annotated[
        int, typer.Option(callback=at_least(1), metavar="N", help="How many entries to list.")
    ] = 100,
    task: Annotated[
        str,
        typer.Option(metavar="NAME", help="Only results of the task of this name.", show_default=False),
    ] = "",
    as_json: JsonOption = False,
) -> None:
    """List the entries of the cache, in the order of their keys: whose results they are, and until when."""
    from taskyard.cli.views.documents import cache_document

    with calls_of(server) as api:
        fitting = (entry for entry in api.cache_entries() if not task or entry.task_name == task)
        entries = list(islice(fitting, limit))
    if as_json:
        print_json([cache_document(entry) for entry in entries])
    elif not entries:
        print("no cached results")
    else:
        ids = id_cells([entry.run_id for entry in entries])
        rows = [
            (
                entry.run_name,
                moment_cell(entry.ended_us),
                moment_cell(entry.expires_us) or "never",
                ids[entry.run_id],
                entry.key,
            )
            for entry in entries
        ]
        columns = (
            NAMES,
            Column("COMPUTED", rank=2),
            Column("EXPIRES", rank=1),
            Column("RUN"),
            Column("KEY", least=16),
        )
        print_table(columns, rows)


@app.command("show")
def show(
    key: Annotated[
        str,
        typer.Argument(
            metavar="KEY", help="A cache key, as 'cache ls' and 'run show' name it.", show_default=False
        ),
    ],
    server: ServerOption = "",
    as_json: JsonOption = False,
) -> None:
    """Show the entry of a cache key: which run computed the result, when, and until when it is used."""
    from taskyard.cli.views.documents import cache_document

    with calls_of(server) as api:
        entry = api.cache_entry(key) if key else None
    if entry is None:
        raise CliError(f"there is no result under the cache key '{key}'; 'taskyard cache ls' shows the keys")
    if as_json:
        print_json(cache_document(entry))
        return
    print_pairs(
        [
            ("cache key", entry.key),
            ("result of", f"{format_id(entry.run_id)} ({entry.run_name})"),
            ("task", entry.task_name),
            ("computed", clock_time(entry.ended_us)),
            ("expires", _expires(entry) or "never"),
        ]
    )


@app.command("clear")
def clear(
    server: ServerOption = "",
    key: Annotated[
        str, typer.Option(metavar="KEY", help="Only the entry of this key.", show_default=False)
    ] = "",
    older_than: Annotated[
        str,
        typer.Option(
            metavar="TIME",
            help="Only results computed longer ago (90s, 30m, 2h, 3d, 1w), or before (2026-01-31T08:00).",
            show_default=False,
        ),
    ] = "",
    everything: Annotated[bool, typer.Option("--all", help="All entries.")] = False,
) -> None:
    """Remove entries of the cache, so that the next runs with their keys are executed.

    The runs and their results stay. A run that is executing goes on, and its result is cached.
    """
    if sum((bool(key), bool(older_than), everything)) != 1:
        raise typer.BadParameter("give exactly one of --key, --older-than and --all")
    before_us = _moment(older_than) if older_than else 0
    from taskyard_api.v1.cache_service_pb2 import ClearCacheRequest

    with calls_of(server) as api:
        removed = api.clear_cache(ClearCacheRequest(key=key, ended_before_us=before_us, all=everything))
    print(f"removed {removed} cached result{'s' if removed != 1 else ''}")


def _moment(text: str) -> int:
    try:
        return moment_us(text, datetime.now(UTC))
    except ValueError as error:
        raise typer.BadParameter(str(error), param_hint="--older-than") from None


def _expires(entry: "CacheEntry") -> str:
    return clock_time(entry.expires_us) if entry.expires_us else ""
