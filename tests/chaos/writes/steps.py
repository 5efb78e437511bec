"""The steps of a write, on each way that a value takes: where each process can be killed.

A step says who is killed where, and how often the two tasks of the program `values` are executed then. A
client that was killed is started again, as people do, and its whole flow with it.
"""

from typing import Final, NamedTuple

from support.failpoints import Failpoint

RESULT, CONTENT = "run-", "b3-"
FILES: Final = "taskyard_contract.blobs.directory:BlobDirectory"
WRITTEN: Final = "taskyard_contract.blobs.directory:_write"
TRANSFER: Final = "taskyard_contract.transport.blob_transfer"
INCOMING: Final = "taskyard_controlplane.blobs.directory:IncomingFile"
OBJECT: Final = "taskyard_controlplane.blobs.objects:IncomingParts"
COMMITTED: Final = "taskyard_controlplane.storage.sqlite.store:SqliteStore.commit"
READ: Final = "taskyard_controlplane.blobs.directory:DirectoryStore.read"
READ_OBJECT: Final = "taskyard_controlplane.blobs.objects:ObjectStore.read"
READ_VALUE: Final = "taskyard_contract.values.files:read_value"
REPORTED: Final = "taskyard_agent.holding.holdings:Holdings.report"
SENT_BESIDE: Final = "taskyard_contract.transport.direct_store:FileSource.send"
UPLOADED: Final = "taskyard_agent.holding.blob_store:BlobStore.upload"
SENT: Final = "taskyard_agent.runner.link:Link._write_whole"


class Step(NamedTuple):
    """Where who is killed."""

    name: str
    victim: str
    """`worker`, `agent`, `server`, `data` or `client`."""
    point: Failpoint
    made: int = 1
    """How often the task that returns a large value is executed."""
    looked: int = 1
    """How often the one that reads it is."""


def worker(name: str, function: str, when: str, about: str = RESULT, number: int = 1) -> Step:
    """Kill a worker before its agent has its report."""
    return Step(f"worker {name}", "worker", Failpoint(function, when, about, number), made=2)


def agent(name: str, function: str, when: str, about: str = RESULT, number: int = 1) -> Step:
    """Kill an agent before the control plane has a report."""
    return Step(f"agent {name}", "agent", Failpoint(function, when, about, number), made=2)


def server(name: str, function: str, when: str, about: str = RESULT, number: int = 1) -> Step:
    """Kill the control plane: nothing is executed again, whatever it was about."""
    return Step(f"server {name}", "server", Failpoint(function, when, about, number))


def data(name: str, function: str, when: str, about: str = RESULT, number: int = 1) -> Step:
    """Kill the data process: nothing is executed again, and nobody has to start it."""
    return Step(f"data process {name}", "data", Failpoint(function, when, about, number))


def client(name: str, function: str, when: str, about: str = CONTENT, number: int = 1) -> Step:
    """Kill a program after its first task was executed, and before its second one is submitted."""
    return Step(f"client {name}", "client", Failpoint(function, when, about, number), made=2)


NEAR: Final = [
    worker("before its file", "os:open", "before"),
    worker("with an empty file", "os:open", "after"),
    worker("in the middle of its file", "os:writev", "after", number=2),
    worker("before the file is synced", "os:fdatasync", "before", number=5),
    worker("before the name is synced", WRITTEN, "after"),
    worker("before its report", FILES + ".write", "after"),
    Step("worker after its report", "worker", Failpoint(SENT, "after", RESULT)),
    Step("worker that reads", "worker", Failpoint(READ_VALUE, "before", RESULT)),
    Step("worker with a mapped value", "worker", Failpoint(READ_VALUE, "after", RESULT)),
    agent("with a report", REPORTED, "before"),
    server("before a report is committed", COMMITTED, "before"),
    server("after a report is committed", COMMITTED, "after"),
    client("in the middle of an argument", "os:writev", "after", number=2),
    client("before an argument has its name", "os:replace", "before"),
    client("after an argument has its name", "os:replace", "after"),
    client("with a stored argument", FILES + ".add", "after"),
    Step("client that reads", "client", Failpoint(READ_VALUE, "after", RESULT), made=2, looked=2),
]
"""Everybody sees the directory: workers and clients write files there, and nothing else happens to them."""

_SENDERS: Final = [
    agent("before an upload", TRANSFER + ":send", "before"),
    agent("in the middle of an upload", TRANSFER + ":_cut", "item", "", 40),
    agent("with an upload that is not answered", TRANSFER + ":_cut", "end", ""),
    agent("after an upload", UPLOADED, "after"),
    Step("agent in the middle of a download", "agent", Failpoint(TRANSFER + ":receive", "item", "", 40)),
    Step("agent before what came has its name", "agent", Failpoint("os:replace", "before", CONTENT)),
    client("in the middle of an upload", TRANSFER + ":_cut", "item", "", 40),
    client("with an upload that is not answered", TRANSFER + ":_cut", "end", "", 2),  # after its source
    Step("client in the middle of a download", "client", Failpoint(TRANSFER + ":receive", "item", "", 40),
         made=2, looked=2),
]  # fmt: skip

FAR: Final = [
    *_SENDERS,
    server("before an upload", INCOMING + ".begin", "before"),
    server("in the middle of an upload", INCOMING + ".take", "after", number=10),
    server("before the file is synced", INCOMING + ".keep", "before"),
    server("before the file has its name", "os:replace", "before"),
    server("after the file has its name", "os:replace", "after"),
    server("before it answers", INCOMING + ".keep", "after"),
    server("in the middle of an argument", INCOMING + ".take", "after", CONTENT, 10),
    server("before an argument has its name", "os:replace", "before", CONTENT),
    server("in the middle of a download", READ, "item", RESULT, 40),
]  # fmt: skip
"""Only the control plane sees the directory: agent and client send and receive."""

BESIDE: Final = [
    data("before an upload", INCOMING + ".begin", "before"),
    data("in the middle of an upload", INCOMING + ".take", "after", number=10),
    data("before the file is synced", INCOMING + ".keep", "before"),
    data("before the file has a name", "os:link", "before"),
    data("after the file has its name", "os:replace", "after"),
    data("before it answers", INCOMING + ".keep", "after"),
    data("in the middle of an argument", INCOMING + ".take", "after", CONTENT, 10),
    data("in the middle of a download", "os:sendfile", "after", RESULT, 40),
    agent("before an upload beside", SENT_BESIDE, "before", ""),
    agent("after an upload beside", UPLOADED, "after"),
]  # fmt: skip
"""Only the control plane and its data process see the directory, and the latter sends and receives."""

OBJECTS: Final = [
    *_SENDERS,
    server("in the middle of an upload", OBJECT + ".take", "after", number=12),
    server("before the last part", OBJECT + ".keep", "before"),
    server("with an object nobody knows of", "obstore:put", "after"),
    server("before it answers", OBJECT + ".keep", "after"),
    server("in the middle of an argument", OBJECT + ".take", "after", CONTENT, 12),
    server("in the middle of a download", READ_OBJECT, "item", RESULT, 40),
    server("before a report is committed", COMMITTED, "before"),
]  # fmt: skip
"""Nobody but the control plane sees the bucket."""
