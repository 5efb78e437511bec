"""A peer that floods a server: it knows the contract and nothing else, and waits for no answer.

`python -m benchmarks.flooder KIND ADDRESS`: it goes on until it is ended, and connects again when it is cut
off.
"""

import hashlib
import os
import queue
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from itertools import count
from typing import Any, Final

import grpc

from taskyard_api.v1 import agent_service_pb2 as ap
from taskyard_api.v1 import (
    agent_service_pb2_grpc,
    common_pb2,
    session_service_pb2_grpc,
    states_pb2,
    template_pb2,
)
from taskyard_api.v1 import session_service_pb2 as sp
from taskyard_contract.id_factory import new_id, new_ids

MIB: Final = 1024 * 1024
OPTIONS: Final = [("grpc.max_send_message_length", 64 * MIB), ("grpc.use_local_subchannel_pool", 1)]
AHEAD: Final = 4
"""Frames that wait for the stream."""
TEMPLATES: Final = 80
"""Of 25 KB each: as much as may be in a frame."""
BLOBS: Final = 2
"""Of 1 MiB: as much as may be in a frame."""

Frames = Iterator[sp.ClientFrame]


def template(name: str, queue_name: str = "nobody", tags: Sequence[str] = ()) -> template_pb2.RunTemplate:
    """Return a template whose runs no agent of the benchmark takes."""
    return template_pb2.RunTemplate(
        kind=states_pb2.RUN_KIND_TASK, name=name, task_key=name, queue=queue_name, encoding="json/plain",
        code=template_pb2.Code(task_name=name), tags=tags,
    )  # fmt: skip


def batches(name: str, group: Callable[[], sp.RunGroup], queue_name: str = "nobody") -> Frames:
    """Yield batches of runs of one template."""
    defined = template_pb2.TemplateDefinition(index=1, template=template(name, queue_name))
    for number in count(1):
        batch = sp.SubmitBatch(number=number, groups=[group()])
        if number == 1:
            batch.templates.append(defined)
        yield sp.ClientFrame(submit=batch)


def small_runs() -> Frames:
    """Many runs without anything."""
    return batches("small", lambda: sp.RunGroup(template=1, run_ids=new_ids(1000)))


def blocked_runs() -> Frames:
    """Runs that wait for one which never begins."""
    first = new_id()

    def group() -> sp.RunGroup:
        ids = new_ids(1000)
        return sp.RunGroup(
            template=1, run_ids=ids, upstream_positions=range(1000), upstream_ids=[first] * 1000,
            upstream_kinds=[1] * 1000,
        )  # fmt: skip

    yield from first_of(batches("first", lambda: sp.RunGroup(template=1, run_ids=[first])))
    for frame in batches("blocked", group):
        frame.submit.number += 1
        for defined in frame.submit.templates:
            defined.index = 2
        frame.submit.groups[0].template = 2
        yield frame


def first_of(frames: Frames) -> Frames:
    """Yield the first one only."""
    yield next(frames)


def large_runs() -> Frames:
    """Runs with 64 KiB of arguments each, in frames as large as they may be."""
    args = [b"x" * 65_536] * 240
    return batches("large", lambda: sp.RunGroup(template=1, run_ids=new_ids(240), args=args))


def templates() -> Frames:
    """Templates of 25 KB, with a run each."""
    for number in count(1):
        tags = ["y" * 1_000] * 25
        names = [f"{number}-{place}" for place in range(TEMPLATES)]
        yield sp.ClientFrame(
            submit=sp.SubmitBatch(
                number=number,
                templates=[
                    template_pb2.TemplateDefinition(index=place, template=template(name, tags=tags))
                    for place, name in enumerate(names, 1)
                ],
                groups=[sp.RunGroup(template=place, run_ids=[new_id()]) for place in range(1, TEMPLATES + 1)],
            )
        )


def blobs() -> Frames:
    """Code that nothing refers to."""
    rest = os.urandom(MIB - 128)
    for number in count(1):
        data = [new_id() + rest for _ in range(BLOBS)]
        blobs = [common_pb2.InlineBlob(digest=hashlib.sha256(each).digest(), data=each) for each in data]
        yield sp.ClientFrame(submit=sp.SubmitBatch(number=number, blobs=blobs))


def logs() -> Frames:
    """Log records of 1 MB, of a run that has not begun."""
    run_id = new_id()
    yield from first_of(batches("logs", lambda: sp.RunGroup(template=1, run_ids=[run_id])))
    batch = log_batch(run_id)
    while True:
        yield sp.ClientFrame(logs=batch)


def log_batch(run_id: bytes) -> sp.LogBatch:
    """Return 15 MB of log records."""
    return sp.LogBatch(
        run_ids=[run_id] * 15, at_us=[1] * 15, levels=[20] * 15, loggers=["l"] * 15,
        messages=["m" * 1_000_000] * 15, run_names=[""] * 15,
    )  # fmt: skip


def unknown_ids() -> Frames:
    """Requests to end runs that there are not."""
    while True:
        yield sp.ClientFrame(cancel=[os.urandom(16) for _ in range(130_000)])


class Sending:
    """A stream that takes frames as fast as it is read."""

    def __init__(self, connect: Callable[..., Any], hello: Any, *, reads: bool = True) -> None:
        self._frames: queue.Queue[Any] = queue.Queue(AHEAD)
        self._frames.put(hello)
        self._call = connect(iter(self._frames.get, None))
        self.received: queue.Queue[Any] = queue.Queue()
        self.over = threading.Event()
        if reads:
            threading.Thread(target=self._read, daemon=True).start()

    def _read(self) -> None:
        try:
            for frame in self._call:
                self.received.put(frame)
        except grpc.RpcError as error:
            print(f"cut off: {error.code().name} {str(error.details())[:150]}", flush=True)  # type: ignore[attr-defined]
        self.over.set()

    def send(self, frame: Any) -> bool:
        """Send a frame once there is room; returns whether the stream still lives."""
        while not self.over.is_set():
            try:
                self._frames.put(frame, timeout=0.1)
            except queue.Full:
                continue
            return True
        return False


def client(channel: grpc.Channel, *, reads: bool = True) -> Sending:
    """Open a session."""
    hello = sp.SessionHello(protocol_min=2, protocol_max=2, session_id=new_id(), client_name="flooder")
    stub = session_service_pb2_grpc.SessionServiceStub(channel)
    return Sending(stub.Connect, sp.ClientFrame(hello=hello), reads=reads)


def flood(address: str, frames: Callable[[], Frames]) -> None:
    """Send frames for ever, on one stream after the other."""
    while True:
        channel = grpc.insecure_channel(address, options=OPTIONS)
        stream = client(channel)
        for sent in frames():
            if not stream.send(sent):
                break
        channel.close()
        time.sleep(0.1)


def deaf(address: str) -> None:
    """Let an agent log for a session that does not read, each frame when the last one is durable."""
    channel = grpc.insecure_channel(address, options=OPTIONS)
    hello = ap.AgentHello(
        protocol_min=2, protocol_max=2, agent_id=new_id().hex(), session_id=new_id(), name="flooder",
        queues=["deaf"], slots=1,
    )  # fmt: skip
    stub = agent_service_pb2_grpc.AgentServiceStub(channel)
    agent = Sending(stub.Connect, ap.AgentFrame(hello=hello))
    agent.send(ap.AgentFrame(credit=ap.Credit(granted_total=1, chunk_size=1)))
    run_id = new_id()
    session = client(grpc.insecure_channel(address, options=OPTIONS), reads=False)
    session.send(next(batches("deaf", lambda: sp.RunGroup(template=1, run_ids=[run_id]), "deaf")))
    while not agent.received.get().chunks:
        pass
    for number in count(1):
        agent.send(ap.AgentFrame(report_number=number, logs=log_batch(run_id)))
        while agent.received.get().reported_up_to < number:
            pass


KINDS: Final[dict[str, Callable[[], Frames]]] = {
    "small_runs": small_runs,
    "blocked_runs": blocked_runs,
    "large_runs": large_runs,
    "templates": templates,
    "blobs": blobs,
    "logs": logs,
    "unknown_ids": unknown_ids,
}
DEAF: Final = "deaf_session"

if __name__ == "__main__":
    kind, server = sys.argv[1:]
    if kind == DEAF:
        deaf(server)
    else:
        flood(server, KINDS[kind])
