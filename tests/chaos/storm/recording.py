"""Puts the history of a storm together, in the words of the checker.

Three sources that know nothing of each other: what clients noted (`journal`), what executions noted
(`executions`), and what was committed (`commit_log`). What was done to whom is the fourth.
"""

import re
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

from chaos.storm import lines
from chaos.storm.commit_log import Committed, committed, query
from chaos.storm.executions import digest_of
from chaos.storm.installation import StormyInstallation
from chaos.storm.places import Places
from chaos.storm.plan import SESSION_LEASE
from chaos.storm.tasks import LOGGED
from simulation.history import Event, Spec

from taskyard_api.v1 import common_pb2, session_service_pb2
from taskyard_contract.blobs.directory import BlobDirectory
from taskyard_contract.blobs.names import name_of
from taskyard_contract.encodings import PICKLE, decode_payload
from taskyard_contract.states import FIRST_FINAL, RunState
from taskyard_contract.values.files import read_value

NEARLY: Final = 0.4
"""Of a lease: a client that stood still for so long may have been given up, with what reconnecting takes."""
_ENDED: Final = re.compile(r"worker \d+: ")
_ALL_ENDED: Final = re.compile(r"the lease lapsed|the zygote died")
"""What an agent logs when it has ended, or has lost, a process, or all of them."""
_TROUBLE: Final = ("Traceback (most", "never retrieved", "CRITICAL", " failed [")
"""What no log of a control plane or an agent should hold."""
_IGNORED: Final = "Exception ignored in"
"""A worker that is told to end inside of what the interpreter does by itself; it ends after its run."""


class Recording:
    """Everything that is known after a storm."""

    def __init__(self, installation: StormyInstallation, places: Places, open_events: list[Event]) -> None:
        url = installation.database
        self.installation = installation
        self.places = places
        self.open_events = open_events
        self.executions = list(lines.read(installation.executions))
        self.committed = committed(url)
        self.rows = {row[0]: row for row in query(url, _RUNS)}
        self.logs = _logs(installation.folder, url)
        self.listed = query(url, "SELECT seq, state FROM ended_badly ORDER BY seq")
        self.results = {seq: _result(installation.folder, row[4], row[5]) for seq, row in self.rows.items()}
        self.counts = self._count()

    def run(self, seq: int) -> str:
        """Return the id of a run."""
        return bytes(self.rows[seq][1]).hex()

    def journals(self) -> Iterator[tuple[str, list[dict[str, Any]]]]:
        """Yield what each process of each client wrote."""
        for place in self.places.of("client"):
            for _, who in place.lives:
                yield who, list(lines.read(self.installation.journal(who)))

    def _count(self) -> dict[str, int]:
        counts = Counter({"runs": len(self.rows)})
        counts["executions"] = sum(each["kind"] == "given" for each in self.executions)
        attempts = {(each["run"], each["attempt"]) for each in self.executions if each["kind"] == "given"}
        counts["repeated"] = counts["executions"] - len(attempts)
        for row in self.rows.values():
            counts[RunState(row[3]).name.lower()] += 1
        return dict(counts)


_RUNS: Final = "SELECT seq, run_id, kind, state, result, outcome FROM run"


def _logs(folder: Path, url: str) -> list[tuple[int, str]]:
    """Read what is in the logs of runs: the server's own lines, and what runs have logged, by day."""
    own = query(url, "SELECT log_id, run_seq, message FROM run_log")
    days = sorted(folder.glob("*-logs/*.sqlite3"))
    stores = [f"sqlite:///{day}" for day in days] if url.startswith("sqlite") else [url]
    said = [
        row for store in stores for row in query(store, "SELECT log_id, run_seq, message FROM log_record")
    ]
    return [(run_seq, message) for _, run_seq, message in sorted(own + said)]


def _result(folder: Path, result: bytes | None, outcome: bytes | None) -> str | None:
    """Return the digest of what a run returned."""
    if result is not None:
        payload = common_pb2.Payload(encoding=PICKLE, data=bytes(result))
    elif outcome is not None:
        payload = session_service_pb2.RunOutcome.FromString(bytes(outcome)).result
    else:
        return None
    value = decode_payload(payload, lambda ref: _blob(folder, ref))
    return None if value is None else digest_of(value)


def _blob(folder: Path, ref: common_pb2.BlobRef) -> memoryview:
    """Read a large value where the control plane keeps it: beside its database, or in its home."""
    name = name_of(ref)
    stores = [*folder.glob("*-blobs"), *folder.glob("home/blobs-*")]
    (path,) = [path for path in (BlobDirectory(store).path(name) for store in stores) if path.exists()]
    return read_value(path, ref.size, ref.checksum if ref.name else None)


def history_of(recording: Recording) -> list[Event]:
    """Return the history of a storm, in order of time."""
    events = [
        *_of_clients(recording),
        *_of_executions(recording),
        *_of_commits(recording),
        *_of_processes(recording),
        *_in_the_end(recording),
        *recording.open_events,
    ]
    return sorted(events, key=lambda event: event.at)


# What clients noted.


def _of_clients(recording: Recording) -> Iterator[Event]:
    for who, journal in recording.journals():
        for line in journal:
            yield from _of_line(who, line)


def _of_line(who: str, line: dict[str, Any]) -> Iterator[Event]:
    at, kind, run = line["at"], line["kind"], line.get("run", "")
    if kind == "submitted":
        yield Event(at, kind, run, who=who, value=spec_of(who, line["spec"]))
    elif kind == "acknowledged":
        for each in line["runs"]:
            yield Event(at, kind, each, who=who)
    elif kind == "told":
        yield Event(at, kind, run, who=who, value=(line["state"], line["result"]))
    elif kind == "cancel_requested":
        yield Event(at, kind, run, who=who)
    elif kind == "cancel_acknowledged":
        yield Event(at, kind, run, who=who, value=line["state"])
    elif kind == "still" and line["at"] - line["since"] > NEARLY * SESSION_LEASE:
        yield Event(at, "away", who=who)


def spec_of(who: str, fields: dict[str, Any]) -> Spec:
    """Return a run as it was submitted."""
    known = {name: value for name, value in fields.items() if name in Spec._fields}
    return Spec(**{"client": who, **known, "upstream": tuple(known.get("upstream", ()))})


# What executions noted.


def _of_executions(recording: Recording) -> Iterator[Event]:
    unfinished: dict[tuple[str, int, int], float] = {}
    for line in recording.executions:
        at, kind, run, epoch = line["at"], line["kind"], line.get("run", ""), line.get("epoch", 0)
        who = f"w{line['pid']}"
        key = run, epoch, line["pid"]
        if kind == "given":
            unfinished[key] = at
            yield Event(at, kind, run, epoch, who, (line["attempt"], line["inputs"], line["agent"]))
        elif kind == "ended":
            unfinished.pop(key, None)
            yield Event(at, kind, run, epoch, who, line["how"])
        elif kind == "logged":
            yield Event(at, kind, run, epoch, who, line["text"])
        elif kind == "submitted":
            yield Event(at, kind, run, who=who, value=spec_of(who, line["spec"]))
        elif kind == "told":
            yield Event(at, kind, run, who=who, value=(line["state"], line["result"]))
    # A worker that was killed is a client that is gone, for the runs which its run has submitted.
    for (_, _, pid), at in unfinished.items():
        yield Event(at, "died", who=f"w{pid}")


# What was committed.


def _of_commits(recording: Recording) -> Iterator[Event]:
    agents = _Agents(recording)
    for row in recording.committed:
        if row.kind == "dispatched":
            who = agents.who(row)
            yield from (
                Event(row.at, row.kind, recording.run(seq), epoch, who) for seq, epoch in _pairs(row.entries)
            )
            continue
        assert row.run_seq is not None
        run = recording.run(row.run_seq)
        value: Any = (row.state, row.reason, row.attempt, row.infra_retries)
        if row.kind == "recorded":
            value = (*value, recording.results[row.run_seq])
        yield Event(row.at, row.kind, run, row.epoch or 0, value=None if row.kind == "inserted" else value)


def _pairs(entries: bytes | None) -> Iterator[tuple[int, int]]:
    numbers = memoryview(bytes(entries or b"")).cast("Q")
    return zip(numbers[::2], numbers[1::2], strict=True)


class _Agents:
    """Which process of an agent a session is of: the one that had started last when it was first heard of."""

    def __init__(self, recording: Recording) -> None:
        self._lives = {place.name: place.lives for place in recording.places.of("agent")}
        self._known: dict[bytes, str] = {}

    def who(self, row: Committed) -> str:
        session, name = bytes(row.session_id or b""), str(row.agent_id).rpartition("/")[2]
        if session not in self._known:
            lives = [who for since, who in self._lives.get(name, ()) if since <= row.at]
            self._known[session] = lives[-1] if lives else name
        return self._known[session]


def _in_the_end(recording: Recording) -> Iterator[Event]:
    now = time.time()
    for seq, row in recording.rows.items():
        state, run = row[3], recording.run(seq)
        yield Event(now, "final", run, value=(state, recording.results[seq]))
        if state < FIRST_FINAL:
            yield Event(now, "open", run, value=RunState(state).name)
    for seq, message in recording.logs:
        kind = (
            "log_recorded" if message.startswith(LOGGED) else "said"
        )  # by the control plane: tasks log no others
        yield Event(now, kind, recording.run(seq), value=message)
    for seq, state in recording.listed:
        run = recording.run(seq) if seq in recording.rows else f"number {seq}"
        yield Event(now, "listed", run, value=state)


# What was done to processes.


def _of_processes(recording: Recording) -> Iterator[Event]:
    gone = {each.who for each in _of_clients(recording) if each.kind == "away"}
    for event in recording.places.events:
        if event.kind == "frozen" and event.value < NEARLY * SESSION_LEASE:
            continue
        if event.kind == "frozen":
            gone.add(event.who)
            yield event._replace(kind="away")
        elif event.kind == "peer_ended" and event.who in gone:
            continue
        else:
            yield event
    for log in sorted(recording.installation.folder.glob("*.err")):
        yield from _of_log(log, recording.installation.plan.slots)


def _of_log(path: Path, slots: int) -> Iterator[Event]:
    who = path.stem.split("-", 1)[1]
    if who.startswith("c"):
        return
    before = ""
    for line in path.read_text(errors="replace").splitlines():
        if _ENDED.search(line):
            yield Event(_time_of(line), "struck", who=who, value=1)
        elif _ALL_ENDED.search(line):
            yield Event(_time_of(line), "struck", who=who, value=slots)
        if any(sign in line for sign in _TROUBLE) and not before.startswith(_IGNORED):
            yield Event(0.0, "unhandled", who=who, value=f"{path.name}: {line}")
        before = line


def _time_of(line: str) -> float:
    """Return the time at the beginning of a line of a log."""
    stamp, _, thousandths = line[:23].partition(",")
    return time.mktime(time.strptime(stamp, "%Y-%m-%d %H:%M:%S")) + int(thousandths or 0) / 1000
