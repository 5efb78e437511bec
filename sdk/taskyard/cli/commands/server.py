"""``taskyard server``: the control plane, on machines of one's own."""

from typing import Annotated

import typer

from taskyard import settings
from taskyard.cli.plain_help import Commands, at_least
from taskyard.cli.programs import become, flags
from taskyard_contract.programs.extras import require_extra
from taskyard_contract.programs.home_directory import database_url, make_home
from taskyard_contract.programs.log_levels import LEVELS, LOG_LEVEL
from taskyard_contract.transport.channels import DEFAULT_HTTP_PORT

app = Commands(help="Run a control plane.")

ListenOption = Annotated[
    str | None,
    typer.Option(
        metavar="ADDRESS",
        help="HOST:PORT or unix:PATH for gRPC; port 0 takes a free one.",
        show_default="127.0.0.1:4700",
    ),
]
HttpOption = Annotated[
    str | None,
    typer.Option(
        metavar="HOST:PORT",
        help="Where /healthz and /metrics are.",
        show_default="127.0.0.1:4701, nowhere when --listen is given",
    ),
]
DatabaseOption = Annotated[
    str,
    typer.Option(
        envvar="TASKYARD_DATABASE",
        metavar="URL",
        help="sqlite:///PATH or postgresql+psycopg://USER@HOST/NAME.",
        show_default="SQLite in TASKYARD_HOME",
    ),
]
BlobsOption = Annotated[
    str | None,
    typer.Option(
        envvar="TASKYARD_BLOBS",
        metavar="URL",
        help="Where large values are: a directory, or s3://BUCKET/PREFIX, gs://BUCKET/PREFIX, az://CONTAINER/PREFIX.",
        show_default="a directory beside an SQLite database, or in TASKYARD_HOME",
    ),
]
NoDirectTransfersOption = Annotated[
    bool,
    typer.Option(
        "--no-direct-transfers", help="Let agents and programs move no large values past the server."
    ),
]
DataListenOption = Annotated[
    str | None,
    typer.Option(
        envvar="TASKYARD_DATA_LISTEN",
        metavar="HOST:PORT",
        help="Where these reach the process that serves large values of a directory; none: there is none.",
        show_default="any port beside the one of gRPC",
    ),
]
ObjectEndpointOption = Annotated[
    str | None,
    typer.Option(
        envvar="TASKYARD_OBJECT_ENDPOINT",
        metavar="URL",
        help="Where these reach the object storage of --blobs.",
        show_default="where the server does",
    ),
]
SecretKeyFileOption = Annotated[
    str | None,
    typer.Option(
        envvar="TASKYARD_SECRET_KEY_FILE",
        metavar="FILE",
        help="The keys that encrypt secrets, newest first; or TASKYARD_SECRET_KEY, the keys themselves.",
        show_default="secret.key beside an SQLite database",
    ),
]
MaxPayloadOption = Annotated[
    int | None,
    typer.Option(
        callback=at_least(1),
        envvar="TASKYARD_MAX_PAYLOAD_BYTES",
        metavar="BYTES",
        help="The largest argument or result.",
        show_default="16 GiB",
    ),
]
AgentLeaseOption = Annotated[
    float | None,
    typer.Option(
        callback=at_least(0.1),
        metavar="SECONDS",
        help="How long an agent may be silent before its runs go to others.",
        show_default="30",
    ),
]
SessionLeaseOption = Annotated[
    float | None,
    typer.Option(
        callback=at_least(0.1),
        metavar="SECONDS",
        help="How long a client may be gone before its flow runs are crashed.",
        show_default="30",
    ),
]
MaxLogRecordsOption = Annotated[
    int | None,
    typer.Option(
        callback=at_least(0),
        metavar="N",
        help="Most log records that are kept of a run.",
        show_default="100000",
    ),
]
MaxLogBytesOption = Annotated[
    int | None,
    typer.Option(
        callback=at_least(0), metavar="BYTES", help="Most bytes of their texts.", show_default="64 MiB"
    ),
]
RetentionRunsOption = Annotated[
    str | None,
    typer.Option(
        envvar="TASKYARD_RETENTION_RUNS",
        metavar="TIME",
        help="How long runs are kept after their end: 12h, 30d, never.",
        show_default="30d",
    ),
]
RetentionLogsOption = Annotated[
    str | None,
    typer.Option(
        envvar="TASKYARD_RETENTION_LOGS",
        metavar="TIME",
        help="How long what runs logged is kept.",
        show_default="14d",
    ),
]
RetentionStatesOption = Annotated[
    str | None,
    typer.Option(
        envvar="TASKYARD_RETENTION_STATES",
        metavar="STATE=TIME,...",
        help="The same by how runs ended: failed=90d,crashed=90d.",
        show_default="as all runs",
    ),
]
RetentionKeepLastOption = Annotated[
    str | None,
    typer.Option(
        envvar="TASKYARD_RETENTION_KEEP_LAST",
        metavar="N",
        help="How many runs of each flow stay however old they are.",
        show_default="0",
    ),
]
RetentionMaxSizeOption = Annotated[
    str | None,
    typer.Option(
        envvar="TASKYARD_RETENTION_MAX_SIZE",
        metavar="SIZE",
        help="Beyond which the oldest go earlier: 10GB; 0 is never.",
        show_default="0",
    ),
]
LogLevelOption = Annotated[
    str | None,
    typer.Option(metavar="LEVEL", help=f"{LEVELS}.", show_default=f"${LOG_LEVEL} or INFO"),
]


@app.callback()
def _group() -> None:
    """Keep `start` a command of its own although it is the only one."""


@app.command("start", epilog="Once the server runs, its own exit codes hold: see docs/cli.md.")
def start(
    listen: ListenOption = None,
    http: HttpOption = None,
    database: DatabaseOption = "",
    blobs: BlobsOption = None,
    no_direct_transfers: NoDirectTransfersOption = False,
    data_listen: DataListenOption = None,
    object_endpoint: ObjectEndpointOption = None,
    secret_key_file: SecretKeyFileOption = None,
    max_payload_bytes: MaxPayloadOption = None,
    agent_lease: AgentLeaseOption = None,
    session_lease: SessionLeaseOption = None,
    max_log_records: MaxLogRecordsOption = None,
    max_log_bytes: MaxLogBytesOption = None,
    retention_runs: RetentionRunsOption = None,
    retention_logs: RetentionLogsOption = None,
    retention_states: RetentionStatesOption = None,
    retention_keep_last: RetentionKeepLastOption = None,
    retention_max_size: RetentionMaxSizeOption = None,
    log_level: LogLevelOption = None,
) -> None:
    """Serve runs until SIGTERM or Ctrl-C. Prints one line when it is ready; logs go to standard error."""
    require_extra("server", "'taskyard server start'")
    if database.startswith("postgres"):
        require_extra("postgres", "'taskyard server start'")
    if blobs is not None and blobs.startswith(("s3:", "gs:", "az:")):
        require_extra("objects", "'taskyard server start'")
    if http is None and listen is None:
        http = f"127.0.0.1:{DEFAULT_HTTP_PORT}"
    arguments = flags(
        {
            "--listen": listen,
            "--http": http,
            "--blobs": blobs,
            "--data-listen": data_listen,
            "--object-endpoint": object_endpoint,
            "--secret-key-file": secret_key_file,
            "--max-payload-bytes": max_payload_bytes,
            "--agent-lease": agent_lease,
            "--session-lease": session_lease,
            "--max-log-records": max_log_records,
            "--max-log-bytes": max_log_bytes,
            "--retention-runs": retention_runs,
            "--retention-logs": retention_logs,
            "--retention-states": retention_states,
            "--retention-keep-last": retention_keep_last,
            "--retention-max-size": retention_max_size,
            "--log-level": log_level,
        }
    )
    if no_direct_transfers:
        arguments.append("--no-direct-transfers")
    # By the environment, because everybody on the machine can read the arguments of a process.
    become(
        "taskyard_controlplane",
        ["serve", *arguments],
        {"TASKYARD_DATABASE": database or _default_database()},
    )


def _default_database() -> str:
    directory = settings.home()
    make_home(directory)
    return database_url(directory / "server.db")
