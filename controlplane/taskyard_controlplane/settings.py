"""Everything an operator can decide about a control plane, in one place, with units, defaults and reasons.

Invariant: settings are frozen and checked when they are made, so no other module checks them again.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from math import inf
from pathlib import Path
from typing import Final

from taskyard_contract.payload_limits import (
    MAX_INLINE_BYTES,
    MAX_PAGE_SIZE,
    MAX_PAYLOAD_BYTES,
    MAX_WAIT_SECONDS,
)
from taskyard_contract.programs.home_directory import YARD_DATABASE, YARD_SOCKET, database_url, yard_address
from taskyard_contract.states import FIRST_FINAL, RunState
from taskyard_controlplane.blobs.places import Kind, Place, check_endpoint, parse_place
from taskyard_controlplane.domain.memory import DEFAULT_MEMORY, MemoryLimits
from taskyard_controlplane.owner.logs.limits import LogLimits
from taskyard_controlplane.owner.retention.policy import FOR_EVER, Policy
from taskyard_controlplane.sealing.keys import KeyRing
from taskyard_controlplane.storage.shown_urls import shown_url

YARD_HOME_BYTES: Final = 10 * 10**9
DAY_SECONDS: Final = 24 * 3600.0
NOWHERE: Final = "none"
"""As an address: not to be listened on."""
MIB: Final = 1024 * 1024
"""Sizes are given in bytes and thought of in these."""
MAX_PAYLOAD_BYTES_IN_MEMORY: Final = 128 * MIB
"""The largest blob that a store in memory takes: it is held there as long as it is stored."""


class InvalidSettings(ValueError):
    """A setting has a value the control plane cannot work with."""


def _require(condition: bool, message: str) -> None:
    if not condition:
        raise InvalidSettings(message)


def _has_port(address: str) -> bool:
    """Whether an address is ``HOST:PORT``."""
    host, _, port = address.rpartition(":")
    return bool(host) and port.isdecimal() and int(port) <= 0xFFFF


@dataclass(frozen=True, slots=True)
class DatabaseSettings:
    """Which database runs are recorded in, and how much of it listings may use."""

    url: str
    """``sqlite:///PATH``, ``sqlite://`` (in memory, nothing survives) or ``postgresql+psycopg://...``.
    No default: where runs are recorded is a decision."""

    reader_threads: int = 2
    """Threads that answer listings, each with a connection of its own. Default 2: reads must not wait for
    one slow listing, and more threads would take the interpreter from the owner."""

    stop_seconds: float = 10.0
    """How long a server that was told to stop waits for the database to take what was accepted. Default 10 s:
    longer than the largest commit and a restart of PostgreSQL, and with `RpcSettings.stop_grace_seconds` well
    below the 30 s after which supervisors kill."""

    def __post_init__(self) -> None:
        known = self.url.startswith(("sqlite:", "postgresql:", "postgresql+psycopg:", "postgres:"))
        _require(
            known,
            f"'{shown_url(self.url)}' is not a database URL; "
            "give sqlite:///PATH or postgresql+psycopg://USER@HOST/NAME",
        )
        _require(self.reader_threads >= 1, f"reader_threads is {self.reader_threads}; it must be at least 1")
        _require(self.stop_seconds > 0, f"stop_seconds is {self.stop_seconds}; it must be greater than 0")

    @property
    def shown_url(self) -> str:
        """The URL without anything that lets one in."""
        return shown_url(self.url)


@dataclass(frozen=True, slots=True)
class RpcSettings:
    """Where clients and agents connect, and what one call may carry or last."""

    listen: str = "127.0.0.1:4700"
    """``HOST:PORT`` or ``unix:PATH``; port 0 takes a free one. Default: here, for want of credentials."""

    reflection: bool = True
    """Whether the server describes its API to tools. Default on; the local yard saves the start-up time."""

    max_payload_bytes: int = MAX_PAYLOAD_BYTES
    """Largest blob, in bytes. Default 16 GiB: none is held in memory, and a disk has room for some."""

    max_inline_bytes: int = MAX_INLINE_BYTES
    """Largest payload inside another message, in bytes. Default 64 KiB: larger ones would delay the runs
    that share their frame."""

    max_page_size: int = MAX_PAGE_SIZE
    """Most items in one page of a listing. Default 1,000: a page is built in the owner's process."""

    max_wait_seconds: float = MAX_WAIT_SECONDS
    """Longest time WaitRun and Poll wait. Default 60 s: shorter than what proxies allow an idle call."""

    stop_grace_seconds: float = 3.0
    """How long open calls may go on after the server was told to stop. Default 3 s: streams are told to
    reconnect at once, only long polls remain."""

    def __post_init__(self) -> None:
        _require(bool(self.listen), "the listen address is empty; give HOST:PORT or unix:PATH")
        _require(
            self.listen.startswith("unix:") or _has_port(self.listen),
            f"'{self.listen}' is not a listen address; give HOST:PORT or unix:PATH",
        )
        for name in ("max_payload_bytes", "max_inline_bytes", "max_page_size", "max_wait_seconds"):
            _require(getattr(self, name) > 0, f"{name} is {getattr(self, name)}; it must be greater than 0")
        _require(self.stop_grace_seconds >= 0, "stop_grace_seconds must not be negative")


@dataclass(frozen=True, slots=True)
class LeaseSettings:
    """How long silence is tolerated. Dictated to agents and sessions when they connect."""

    agent_lease_seconds: float = 30.0
    """Without a heartbeat for this long, an agent's runs go to others. Default 30 s: longer than a restart
    of the control plane or a moved virtual machine, short enough for people who wait."""

    session_lease_seconds: float = 30.0
    """Without a stream for this long, a session's flow runs are CRASHED. Default 30 s, as above."""

    heartbeats_per_lease: int = 6
    """How many heartbeats fit into a lease. Default 6: five may be lost."""

    def __post_init__(self) -> None:
        _require(self.agent_lease_seconds > 0, "the agent lease must be longer than 0 seconds")
        _require(self.session_lease_seconds > 0, "the session lease must be longer than 0 seconds")
        _require(self.heartbeats_per_lease >= 2, "heartbeats_per_lease must be at least 2")

    @property
    def agent_heartbeat_seconds(self) -> float:
        """How often agents send a heartbeat."""
        return self.agent_lease_seconds / self.heartbeats_per_lease

    @property
    def session_heartbeat_seconds(self) -> float:
        """How often idle sessions send a frame."""
        return self.session_lease_seconds / self.heartbeats_per_lease


@dataclass(frozen=True, slots=True)
class PeerSettings:
    """How much one peer may take up: streams and time. Nobody is known by more than an address, so what
    one address may have has to suffice for a whole machine.
    """

    first_frame_seconds: float = 10.0
    """A stream must have begun with a hello after so long. Default 10 s: only a full network delays
    it, and a stream that is merely opened costs as much as one that is used."""

    max_streams: int = 8_192
    """Most streams of clients and agents at a time. Default 8,192: some 100 MB."""

    max_streams_per_address: int = 2_048
    """The same from one address. Default 2,048: a machine full of workers, each with a session of its own."""

    upload_part_seconds: float = 30.0
    """The next part of an upload, or its turn, must come within so long. Default 30 s: as long as a lease,
    after which whoever uploads is given up as well."""

    max_uploads: int = 64
    """Most uploads at a time; others wait for their turn. Default 64: each holds some 3 MB."""

    max_uploads_per_address: int = 16
    """The same from one address. Default 16: more would not be faster."""

    max_followers: int = 512
    """Most calls at a time that follow runs or a log. Default 512: each may have 10 MB to be told of, all
    together 40."""

    max_followers_per_address: int = 128
    """The same from one address. Default 128: many terminals, and some dashboards."""

    def __post_init__(self) -> None:
        for name in (
            "first_frame_seconds", "max_streams", "max_streams_per_address", "upload_part_seconds",
            "max_uploads", "max_uploads_per_address", "max_followers", "max_followers_per_address",
        ):  # fmt: skip
            _require(getattr(self, name) > 0, f"{name} is {getattr(self, name)}; it must be greater than 0")


@dataclass(frozen=True, slots=True)
class LogSettings:
    """How much of what one run logs is kept: what is beyond is left out, and its log says so."""

    max_records: int = LogLimits().max_records
    """Most records of a run. Default 100,000: more than people read, and a loop that logs without end fills
    no disk with it."""

    max_bytes: int = LogLimits().max_bytes
    """Most bytes of their texts. Default 64 MiB, for the same reason; one record has 32 KiB at most."""

    def __post_init__(self) -> None:
        for name in ("max_records", "max_bytes"):
            _require(getattr(self, name) >= 0, f"{name} is {getattr(self, name)}; it must not be negative")

    @property
    def limits(self) -> LogLimits:
        """The same as the owner wants it."""
        return LogLimits(self.max_records, self.max_bytes)


@dataclass(frozen=True, slots=True)
class ProbeSettings:
    """The HTTP port with /healthz and /metrics."""

    listen: str = ""
    """``HOST:PORT``, port 0 takes a free one. Default empty: no HTTP port."""

    max_lag_seconds: float = 10.0
    """An event loop that was busy for longer is reported as unhealthy. Default 10 s: far beyond any
    commit, well below the leases."""

    def __post_init__(self) -> None:
        known = not self.listen or _has_port(self.listen)
        _require(known, f"'{self.listen}' is not an address for HTTP; give HOST:PORT")


@dataclass(frozen=True, slots=True)
class RetentionSettings:
    """How long what is over is kept. Whatever these are: what an open run, a connected session or a cached
    result needs stays.
    """

    runs_seconds: float = 30 * DAY_SECONDS
    """Runs, from their end on. Default 30 days: last month's are still to be looked at."""

    logs_seconds: float = 14 * DAY_SECONDS
    """What runs logged. Default 14 days: it is most of what a run takes, and soon nobody reads it."""

    states: Mapping[RunState, float] = field(default_factory=dict)
    """The same as `runs_seconds`, for runs that ended in certain states. Default: none of them is special."""

    keep_last: int = 0
    """So many runs of each flow stay however old they are. Default 0: finding them takes a look at all."""

    home_bytes: int = 0
    """When database and blobs take more, the oldest runs go before their time. Default 0: any amount is
    kept; a yard keeps 10 GB."""

    def __post_init__(self) -> None:
        for name, seconds in (("runs", self.runs_seconds), ("logs", self.logs_seconds), *self.states.items()):
            _require(seconds >= 0, f"the time for which {name} are kept must not be negative")
        for state in self.states:
            _require(state >= FIRST_FINAL, f"no run ends in {state.name}")
        _require(self.keep_last >= 0, f"keep_last is {self.keep_last}; it must not be negative")
        _require(self.home_bytes >= 0, "home_bytes must not be negative; 0 means any amount")

    def policy(self) -> Policy:
        """Return the same, as the owner understands it."""
        return Policy(
            runs_us=_microseconds(self.runs_seconds),
            logs_us=_microseconds(self.logs_seconds),
            states_us={int(state): _microseconds(seconds) for state, seconds in self.states.items()},
            keep_last=self.keep_last,
            home_bytes=self.home_bytes,
        )


def _microseconds(seconds: float) -> int:
    return FOR_EVER if seconds == inf else min(round(seconds * 1_000_000), FOR_EVER)


@dataclass(frozen=True, slots=True)
class Settings:
    """Everything one control plane needs."""

    database: DatabaseSettings
    rpc: RpcSettings = field(default_factory=RpcSettings)
    lease: LeaseSettings = field(default_factory=LeaseSettings)
    probe: ProbeSettings = field(default_factory=ProbeSettings)
    memory: MemoryLimits = DEFAULT_MEMORY
    logs: LogSettings = field(default_factory=LogSettings)
    peers: PeerSettings = field(default_factory=PeerSettings)
    blobs: str = ""
    """Where large values are: a directory (a path, or ``file:///PATH``), object storage (``s3://BUCKET/PREFIX``,
    ``gs://``, ``az://``) or ``memory:``. Default empty: a directory beside an SQLite database, or one in
    ``$TASKYARD_HOME`` that is named after another database; with a database in memory one that lasts as long
    as the server. Servers that share a database need the same one."""
    direct_transfers: bool = True
    """Whether peers are told how to move blobs past the control plane. Default on: who cannot do it that way
    comes back."""
    data_listen: str = ""
    """Where the process listens that serves blobs of a directory to peers who do not see it: ``HOST:PORT``,
    or ``none`` for no such process. Default empty: on any port beside the one of gRPC, nowhere beside a Unix
    socket, where all peers are on this machine."""
    keys: KeyRing | None = None
    """What encrypts secrets. Default: the keys in `secret.key` beside an SQLite database, made with the first
    secret; PostgreSQL has nothing beside it, and no secrets without keys."""
    object_endpoint: str = ""
    """Where peers reach object storage, ``https://HOST``. Default empty: where the control plane does."""
    retry_delay_factor: float = 1.0
    """What delays before retries are multiplied with, 0 to 1. Default 1; less is for tests of programs."""

    def __post_init__(self) -> None:
        try:
            if self.blobs:
                parse_place(self.blobs)
            check_endpoint(self.object_endpoint)
        except ValueError as error:
            raise InvalidSettings(str(error)) from None
        _require(0 <= self.retry_delay_factor <= 1, "retry_delay_factor must lie between 0 and 1")
        known = self.data_listen in ("", NOWHERE) or _has_port(self.data_listen)
        _require(known, f"'{self.data_listen}' is not an address for data; give HOST:PORT, or {NOWHERE}")

    @property
    def data_address(self) -> str:
        """Where the data process is to listen, ``HOST:PORT``; empty without one."""
        place, listen = self.blob_place, self.rpc.listen
        in_directory = place is None or place.kind is Kind.DIRECTORY
        if not (self.direct_transfers and in_directory) or self.data_listen == NOWHERE:
            return ""
        if self.data_listen or listen.startswith("unix:"):
            return self.data_listen
        return f"{listen.rpartition(':')[0]}:0"

    @property
    def blob_place(self) -> Place | None:
        """Where large values are, if somebody said so."""
        return parse_place(self.blobs) if self.blobs else None

    @property
    def max_payload_bytes(self) -> int:
        """Largest blob, in bytes: what is allowed, but in memory not more than that has room for."""
        place, limit = self.blob_place, self.rpc.max_payload_bytes
        in_memory = place is not None and place.kind is Kind.MEMORY
        return min(limit, MAX_PAYLOAD_BYTES_IN_MEMORY) if in_memory else limit

    retention: RetentionSettings = field(default_factory=RetentionSettings)


@dataclass(frozen=True, slots=True)
class YardSettings:
    """The local yard: a control plane and one agent for the person at this machine."""

    home: Path
    """Directory of the socket, the database and the lock. No default here; the command line's is
    ``$TASKYARD_HOME`` or ``~/.taskyard``."""

    slots: int
    """Workers of the agent. The command line's default is the number of processors."""

    idle_seconds: float = 60.0
    """The yard ends after so long without a session and without open work; 0: never. Default 60 s: the
    next script of somebody who is at work finds it running."""

    lease: LeaseSettings = field(default_factory=LeaseSettings)
    """As for a server."""

    max_payload_bytes: int = MAX_PAYLOAD_BYTES
    """As for a server."""
    retention: RetentionSettings = field(
        default_factory=lambda: RetentionSettings(home_bytes=YARD_HOME_BYTES)
    )
    """As for a server, but for `home_bytes`. Default 10 GB: nobody looks after a yard."""

    logs: LogSettings = field(default_factory=LogSettings)
    """As for a server."""

    def __post_init__(self) -> None:
        _require(self.slots >= 1, f"slots is {self.slots}; a yard needs at least 1")
        _require(self.idle_seconds >= 0, "idle_seconds must not be negative; 0 means never")

    @property
    def socket(self) -> Path:
        """The file the yard listens on: a yard serves one person on one machine, so no port."""
        return self.home / YARD_SOCKET

    @property
    def address(self) -> str:
        """The same as clients dial it, ``unix:PATH``."""
        return yard_address(self.home)

    def server_settings(self) -> Settings:
        """Return the settings of the yard's control plane."""
        return Settings(
            database=DatabaseSettings(url=database_url(self.home / YARD_DATABASE)),
            rpc=RpcSettings(
                listen=self.address,
                reflection=False,
                max_payload_bytes=self.max_payload_bytes,
                stop_grace_seconds=1.0,
            ),
            lease=self.lease,
            retention=self.retention,
            logs=self.logs,
        )
