"""``taskyard prune`` and ``taskyard storage``: removing what is over, and what takes the room."""

import sys
import time
from typing import TYPE_CHECKING, Annotated, Final

import typer

from taskyard.cli.commands.run_options import states_of
from taskyard.cli.exits import CliError
from taskyard.cli.plain_help import Commands
from taskyard.cli.server_option import ServerOption, calls_of
from taskyard.cli.views.output import JsonOption, amount, print_json, print_pairs
from taskyard_contract.for_people.durations import seconds_of
from taskyard_contract.states import FIRST_FINAL

if TYPE_CHECKING:
    from taskyard._network.server.calls import Client
    from taskyard_api.v1 import admin_service_pb2

app = Commands(help="Look at what takes the room.")

_DAY_MS: Final = 24 * 3600 * 1000
_USES: Final = {1: "arguments", 2: "results", 3: "cached results", 4: "being removed", 5: "code"}
_NUMBERS: Final = (
    "runs", "logs", "events", "log_bytes", "cache_entries", "blobs", "blob_bytes", "waiting_blobs",
    "free_in_ms",
)  # fmt: skip


def prune(
    server: ServerOption = "",
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only say what would be removed.")] = False,
    older_than: Annotated[
        str,
        typer.Option(
            metavar="TIME",
            help="Runs that ended longer ago than this (12h, 7d, 0), instead of what is due.",
            show_default=False,
        ),
    ] = "",
    state: Annotated[
        list[str] | None,
        typer.Option(metavar="STATE", help="Only runs that ended so. May be repeated.", show_default=False),
    ] = None,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
    wait: Annotated[bool, typer.Option("--wait", help="Wait until the disk is free, too.")] = False,
    as_json: JsonOption = False,
) -> None:
    """Remove what is over now: runs with their logs, expired cached results, blobs that nobody needs.

    What open runs, connected programs and cached results need stays.
    """
    from taskyard_api.v1.admin_service_pb2 import PruneRequest

    request = PruneRequest(states=_ends(state or []))  # type: ignore[arg-type]  # numerically equal
    if older_than:
        request.older_than_ms = _milliseconds(older_than)
    with calls_of(server) as api:
        request.dry_run = True
        expected = _last(api, request)
        if dry_run:
            _tell(expected, "would be removed", as_json=as_json)
            return
        if older_than and not yes and expected.runs:
            _ask(expected)
        request.dry_run = False
        removed = _last(api, request, shows=not as_json)
        if wait and removed.waiting_blobs:
            removed = _waited(api, removed)
    removed.blob_bytes = expected.blob_bytes
    _tell(removed, "removed", as_json=as_json)


@app.command("show")
def show(server: ServerOption = "", as_json: JsonOption = False) -> None:
    """Show what takes the room: the database, blobs by what needs them, and how long things are kept."""
    with calls_of(server) as api:
        found = api.storage()
    if as_json:
        print_json(_document(found))
        return
    pairs = [
        (
            "database",
            f"{amount(found.database_bytes)}, {amount(found.database_free_bytes)} free in its file",
        ),
        *(
            (_USES.get(int(part.use), "other"), f"{amount(part.size)} in {part.blobs:,} blobs")
            for part in found.blobs
        ),
        ("logs", amount(found.log_bytes)),
        ("blobs are in", found.blob_store or "the database"),
    ]
    if found.HasField("blob_store_free_bytes"):
        pairs.append(("free there", amount(found.blob_store_free_bytes)))
    pairs += [
        ("runs are kept", _kept(found, "keep_runs_ms")),
        ("logs are kept", _kept(found, "keep_logs_ms")),
        ("limit", amount(found.limit_bytes) if found.limit_bytes else "none"),
    ]
    print_pairs(pairs)


def _ends(words: list[str]) -> list[int]:
    states = [int(state) for word in words for state in states_of(word) if state >= FIRST_FINAL]
    if words and not states:
        raise typer.BadParameter("no run ends in that state", param_hint="--state")
    return states


def _milliseconds(text: str) -> int:
    try:
        return seconds_of(text) * 1000
    except ValueError as error:
        raise typer.BadParameter(str(error), param_hint="--older-than") from None


def _last(
    api: "Client", request: "admin_service_pb2.PruneRequest", *, shows: bool = False
) -> "admin_service_pb2.PruneResponse":
    """Return the last answer to a request; on a terminal the ones before are shown in passing."""
    answer = None
    shows = shows and sys.stderr.isatty()
    for answer in api.prune(request):
        if shows:
            print(f"\r{answer.runs:,} runs removed", end="", file=sys.stderr)
    if shows:
        print("\r\x1b[K", end="", file=sys.stderr)
    if answer is None or not answer.done:
        raise CliError("the server has stopped before all was removed; repeat the command")
    return answer


def _ask(expected: "admin_service_pb2.PruneResponse") -> None:
    _tell(expected, "would be removed, also what is not due yet", as_json=False)
    if not sys.stdin.isatty():
        raise CliError("nothing was removed; say --yes where nobody can be asked")
    if not typer.confirm("Remove them?"):
        raise CliError("nothing was removed")


def _waited(api: "Client", removed: "admin_service_pb2.PruneResponse") -> "admin_service_pb2.PruneResponse":
    """Wait until no blobs are left that were to be removed."""
    while True:
        left = sum(part.blobs for part in api.storage().blobs if int(part.use) == 4)
        if not left:
            removed.blobs += removed.waiting_blobs
            removed.waiting_blobs = removed.free_in_ms = 0
            return removed
        if sys.stderr.isatty():
            print(f"\r{left:,} blobs wait to be removed", end="", file=sys.stderr)
        time.sleep(1.0)


def _tell(answer: "admin_service_pb2.PruneResponse", what: str, *, as_json: bool) -> None:
    if as_json:
        print_json({name: int(getattr(answer, name)) for name in _NUMBERS})
        return
    blobs = answer.blobs + answer.waiting_blobs
    print(
        f"{what}: {_counted(answer.runs, 'run')}, {amount(answer.log_bytes)} of logs, "
        f"{_counted(answer.cache_entries, 'cached result', 's')}, {_counted(blobs, 'blob')}"
        f" ({amount(answer.blob_bytes)})"
    )
    if answer.waiting_blobs:
        seconds = -(-answer.free_in_ms // 1000) + 5
        print(
            f"{_counted(answer.waiting_blobs, 'blob')} of these leave the disk within {seconds} s, "
            "when nobody can be about to read them any more"
        )


def _counted(count: int, one: str, plural: str = "s") -> str:
    return f"{count:,} {one}{'' if count == 1 else plural}"


def _kept(found: "admin_service_pb2.GetStorageResponse", field: str) -> str:
    if not found.HasField(field):  # type: ignore[arg-type]  # one of its fields
        return "for ever"
    days = getattr(found, field) / _DAY_MS
    return f"{days:g} day{'' if days == 1 else 's'}"


def _document(found: "admin_service_pb2.GetStorageResponse") -> dict[str, object]:
    optional = ("blob_store_free_bytes", "keep_runs_ms", "keep_logs_ms")
    return {
        "database_bytes": found.database_bytes,
        "database_free_bytes": found.database_free_bytes,
        "log_bytes": found.log_bytes,
        "blobs": {
            _USES.get(int(part.use), "other"): {"blobs": part.blobs, "size": part.size}
            for part in found.blobs
        },
        "blob_store": found.blob_store or None,
        "limit_bytes": found.limit_bytes or None,
        **{name: getattr(found, name) if found.HasField(name) else None for name in optional},  # type: ignore[arg-type]
    }
