"""The command line of the control plane, for people and for service managers.

    python -m taskyard_controlplane serve --listen HOST:PORT --database URL
    python -m taskyard_controlplane yard --home DIR

Exit codes: see `ExitCode`. Standard output carries one line, when the program is ready; everything else goes
to standard error. Nothing heavy is imported here: the local yard's start-up time is somebody's waiting time.
"""

import argparse
import logging
import os
import sys
import threading
from collections.abc import Callable, Sequence
from enum import IntEnum
from pathlib import Path
from typing import NoReturn

from taskyard_contract.errors import SecretUnreadable
from taskyard_contract.programs.extras import ExtraMissing, require_extra
from taskyard_contract.programs.home_directory import HOME, HomeUnusable, home_directory
from taskyard_contract.programs.log_levels import LEVELS, LOG_LEVEL, UnknownLogLevel, level_of, log_level
from taskyard_contract.programs.log_lines import log_to_stderr
from taskyard_contract.programs.private_files import be_private
from taskyard_controlplane.blobs.places import Kind
from taskyard_controlplane.retention_options import add_options, retention_of
from taskyard_controlplane.sealing.keys import KeyRing
from taskyard_controlplane.settings import (
    YARD_HOME_BYTES,
    DatabaseSettings,
    InvalidSettings,
    LeaseSettings,
    LogSettings,
    ProbeSettings,
    RetentionSettings,
    RpcSettings,
    Settings,
    YardSettings,
)


class ExitCode(IntEnum):
    """How a program of the control plane ends. Part of its interface: service managers decide by it."""

    OK = 0
    """Stopped by SIGTERM or SIGINT, or an idle yard."""
    FAILED = 1
    """Ended by a failure; the log says which. Start it again."""
    USAGE = 2
    """The command line, or a setting, is wrong, or a package is missing. Starting again does not help."""
    ADDRESS_UNUSABLE = 3
    """The gRPC or HTTP address is in use, or cannot be bound on this machine."""
    DATABASE_IN_USE = 4
    """Another live process owns the database, or the yard's home."""
    DATABASE_UNUSABLE = 5
    """The database cannot be reached, is full, was deleted or replaced, or has another release's schema; or
    the place of blobs cannot be used."""
    OWNERSHIP_LOST = 6
    """Another control plane took the database over while this one ran; this one stopped."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line and return the exit code."""
    options = _parser().parse_args(arguments)
    try:
        log_to_stderr(_log_level(options))
        be_private()
        run: Callable[[argparse.Namespace], None] = options.run
        run(options)
    except Exception as error:
        code = exit_code_of(error)
        if code is ExitCode.FAILED:
            logging.getLogger(__name__).error("the control plane failed", exc_info=error)
        else:
            print(f"taskyard: {error}", file=sys.stderr)
        return code
    return ExitCode.OK


def leave(code: int) -> NoReturn:
    """End this process, also while a thread waits for a database that does not answer.

    An orderly stop leaves none behind. The interpreter would wait for the others, and nothing wakes them.
    """
    others = [thread for thread in threading.enumerate() if thread is not threading.main_thread()]
    if all(thread.daemon for thread in others):
        sys.exit(code)
    logging.shutdown()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)


def exit_code_of(error: Exception) -> ExitCode:
    """Return the code to exit with after an error. Imports late: it runs only when something is wrong."""
    from taskyard_contract.errors import NotOwner, StorageFull, StorageUnavailable
    from taskyard_controlplane.rpc.addresses import ListenFailed
    from taskyard_controlplane.storage.errors import DatabaseInUse, DatabaseLost, SchemaNotUnderstood
    from taskyard_controlplane.yard import YardInUse

    codes: tuple[tuple[type[Exception] | tuple[type[Exception], ...], ExitCode], ...] = (
        ((InvalidSettings, HomeUnusable, ExtraMissing), ExitCode.USAGE),
        (ListenFailed, ExitCode.ADDRESS_UNUSABLE),
        ((DatabaseInUse, YardInUse), ExitCode.DATABASE_IN_USE),
        ((SchemaNotUnderstood, DatabaseLost, StorageUnavailable, StorageFull), ExitCode.DATABASE_UNUSABLE),
        (NotOwner, ExitCode.OWNERSHIP_LOST),
    )
    return next((code for kind, code in codes if isinstance(error, kind)), ExitCode.FAILED)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="taskyard-controlplane", description="The control plane of Taskyard.", allow_abbrev=False
    )
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    _add_serve(commands.add_parser("serve", help="serve runs from a database", allow_abbrev=False))
    _add_yard(commands.add_parser("yard", help="serve one person's runs on this machine", allow_abbrev=False))
    return parser


def _add_common(parser: argparse.ArgumentParser) -> None:
    lease = LeaseSettings()
    parser.add_argument(
        "--agent-lease", type=float, default=lease.agent_lease_seconds, metavar="SECONDS",
        help="how long an agent may be silent before its runs go to others (default: %(default)g)",
    )  # fmt: skip
    parser.add_argument(
        "--session-lease", type=float, default=lease.session_lease_seconds, metavar="SECONDS",
        help="how long a client may be gone before its flow runs are crashed (default: %(default)g)",
    )  # fmt: skip
    add_options(parser)
    parser.add_argument(
        "--max-payload-bytes", type=int, metavar="BYTES",
        default=os.environ.get("TASKYARD_MAX_PAYLOAD_BYTES") or str(RpcSettings().max_payload_bytes),
        help="the largest argument or result (default: $TASKYARD_MAX_PAYLOAD_BYTES or 16 GiB)",
    )  # fmt: skip
    logs = LogSettings()
    parser.add_argument(
        "--max-log-records", type=int, default=logs.max_records, metavar="N",
        help="most log records that are kept of a run; the rest is left out (default: %(default)s)",
    )  # fmt: skip
    parser.add_argument(
        "--max-log-bytes", type=int, default=logs.max_bytes, metavar="BYTES",
        help="most bytes of their texts (default: %(default)s)",
    )  # fmt: skip
    parser.add_argument(
        "--log-level", type=_level, metavar="LEVEL",
        help=f"what is written to standard error: {LEVELS} (default: ${LOG_LEVEL} or INFO)",
    )  # fmt: skip


def _level(word: str) -> int:
    try:
        return level_of(word)
    except UnknownLogLevel as error:
        raise argparse.ArgumentTypeError(str(error)) from None


def _log_level(options: argparse.Namespace) -> int:
    if options.log_level is not None:
        return int(options.log_level)
    try:
        return log_level(os.environ)
    except UnknownLogLevel as error:
        raise InvalidSettings(str(error)) from None


def _add_serve(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--listen", default=RpcSettings().listen, metavar="ADDRESS",
        help="HOST:PORT or unix:PATH for gRPC; port 0 takes a free one (default: %(default)s)",
    )  # fmt: skip
    parser.add_argument(
        "--http", default="", metavar="HOST:PORT",
        help="where /healthz and /metrics are (default: nowhere)",
    )  # fmt: skip
    parser.add_argument(
        "--database", default=os.environ.get("TASKYARD_DATABASE", ""), metavar="URL",
        help="sqlite:///PATH or postgresql+psycopg://USER@HOST/NAME (default: $TASKYARD_DATABASE, "
        "which keeps a password out of the process list)",
    )  # fmt: skip
    parser.add_argument(
        "--blobs", default=os.environ.get("TASKYARD_BLOBS", ""), metavar="URL",
        help="where large values are: a directory, which agents that see it use without sending them, "
        "s3://BUCKET/PREFIX, gs://BUCKET/PREFIX or az://CONTAINER/PREFIX "
        "(default: $TASKYARD_BLOBS, else a directory beside an SQLite database, or in $TASKYARD_HOME)",
    )  # fmt: skip
    parser.add_argument(
        "--no-direct-transfers", action="store_false", dest="direct_transfers",
        help="let agents and programs move no large values past the server",
    )  # fmt: skip
    parser.add_argument(
        "--data-listen", default=os.environ.get("TASKYARD_DATA_LISTEN", ""), metavar="HOST:PORT",
        help="where these reach the process that serves large values of a directory; none: there is none "
        "(default: $TASKYARD_DATA_LISTEN, else any port beside the one of gRPC)",
    )  # fmt: skip
    parser.add_argument(
        "--object-endpoint", default=os.environ.get("TASKYARD_OBJECT_ENDPOINT", ""), metavar="URL",
        help="where these reach the object storage of --blobs "
        "(default: $TASKYARD_OBJECT_ENDPOINT, else where the server does)",
    )  # fmt: skip
    parser.add_argument(
        "--retry-delay-factor", type=float, default=1.0, metavar="FACTOR",
        help="what delays before retries are multiplied with, from 0 to 1; less than 1 is for tests "
        "(default: %(default)g)",
    )  # fmt: skip
    parser.add_argument(
        "--secret-key-file", default=os.environ.get("TASKYARD_SECRET_KEY_FILE", ""), metavar="FILE",
        help="the keys that encrypt secrets, newest first; or $TASKYARD_SECRET_KEY, the keys themselves "
        "(default: $TASKYARD_SECRET_KEY_FILE, else secret.key beside an SQLite database)",
    )  # fmt: skip
    _add_common(parser)
    parser.set_defaults(run=_serve)


def _add_yard(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--home", default="", metavar="DIR",
        help="directory of the socket and the database (default: $TASKYARD_HOME or ~/.taskyard)",
    )  # fmt: skip
    parser.add_argument(
        "--idle-seconds", type=float, default=60.0, metavar="SECONDS",
        help="end after so long without sessions and open work; 0: never (default: %(default)g)",
    )  # fmt: skip
    parser.add_argument(
        "--slots", type=int, default=os.cpu_count() or 1, metavar="N",
        help="workers of the yard's agent (default: one per processor, %(default)s)",
    )  # fmt: skip
    _add_common(parser)
    parser.set_defaults(run=_yard)


def _lease_of(options: argparse.Namespace) -> LeaseSettings:
    return LeaseSettings(options.agent_lease, options.session_lease)


def _keys_of(options: argparse.Namespace) -> KeyRing | None:
    """Return the keys of secrets that were named, found out now if they are none."""
    path, text = options.secret_key_file, os.environ.get("TASKYARD_SECRET_KEY", "")
    if not path and not text:
        return None
    ring = KeyRing(path=Path(path)) if path else KeyRing(text)
    try:
        ring.newest()
    except SecretUnreadable as error:
        raise InvalidSettings(str(error)) from None
    if path and ring.is_open_to_others():
        logging.getLogger(__name__).warning(
            "others can read the file of keys %s, and with it all secrets; make it readable for the user of"
            " this server alone: chmod 600", path,
        )  # fmt: skip
    return ring


def _logs_of(options: argparse.Namespace) -> LogSettings:
    return LogSettings(options.max_log_records, options.max_log_bytes)


def serve_settings(options: argparse.Namespace) -> Settings:
    """Return what `serve` was asked for.

    Raises:
        InvalidSettings: A value makes no sense.
    """
    if not options.database:
        raise InvalidSettings("no database was given; add --database URL or set TASKYARD_DATABASE")
    return Settings(
        database=DatabaseSettings(options.database),
        rpc=RpcSettings(listen=options.listen, max_payload_bytes=options.max_payload_bytes),
        lease=_lease_of(options),
        logs=_logs_of(options),
        probe=ProbeSettings(listen=options.http),
        blobs=options.blobs,
        direct_transfers=options.direct_transfers,
        data_listen=options.data_listen,
        object_endpoint=options.object_endpoint,
        retry_delay_factor=options.retry_delay_factor,
        keys=_keys_of(options),
        retention=retention_of(options, RetentionSettings()),
    )


def yard_settings(options: argparse.Namespace) -> YardSettings:
    """Return what `yard` was asked for.

    Raises:
        InvalidSettings: A value makes no sense.
        HomeUnusable: Nobody said where its home is, and the user has none.
    """
    home = home_directory({HOME: options.home} if options.home else os.environ)
    retention = retention_of(options, RetentionSettings(home_bytes=YARD_HOME_BYTES))
    lease, largest, logs = _lease_of(options), options.max_payload_bytes, _logs_of(options)
    return YardSettings(home, options.slots, options.idle_seconds, lease, largest, retention, logs)


def _serve(options: argparse.Namespace) -> None:
    settings = serve_settings(options)
    require_extra("server", "the server")
    if settings.database.url.startswith("postgres"):
        require_extra("postgres", "a server on PostgreSQL")
    place = settings.blob_place
    if place is not None and place.kind is Kind.OBJECTS:
        require_extra("objects", "a server with its blobs in object storage")
    from taskyard_controlplane import app

    app.run(settings, app.ready_line)


def _yard(options: argparse.Namespace) -> None:
    settings = yard_settings(options)
    require_extra("server", "the local yard")
    from taskyard_controlplane.yard import run_yard

    run_yard(settings)
