"""Streams of a server, read message by message in a thread of their own: a test waits for what it expects."""

import queue
import threading
from collections.abc import Callable
from typing import Any, Final

import grpc

from taskyard_api.v1 import run_service_pb2 as pb
from taskyard_contract.errors import TaskyardError
from taskyard_contract.transport.rpc_errors import from_rpc_error

PATIENCE: Final = 20.0
"""Seconds a test waits for a message."""


class Stream:
    """One call whose answers come as a stream."""

    def __init__(self, call: Any) -> None:
        self._call = call
        self._came: queue.Queue[Any] = queue.Queue()
        self.messages: list[Any] = []
        threading.Thread(target=self._read, daemon=True).start()

    def _read(self) -> None:
        try:
            for message in self._call:
                self._came.put(message)
            self._came.put(None)
        except grpc.RpcError as error:
            self._came.put(from_rpc_error(error))

    def next(self) -> Any:
        """Return the next message, None when the stream has ended in order."""
        came = self._came.get(timeout=PATIENCE)
        if isinstance(came, TaskyardError):
            raise came
        if came is not None:
            self.messages.append(came)
        return came

    def until(self, enough: Callable[[], bool]) -> None:
        """Read until there is enough."""
        while not enough():
            assert self.next() is not None, "the stream has ended"

    def to_the_end(self) -> None:
        """Read until the stream ends."""
        while self.next() is not None:
            pass

    def close(self) -> None:
        self._call.cancel()


class Watching(Stream):
    """A watch of runs, and what it was told of each last."""

    def __init__(self, stub: Any, token: str = "", **fields: Any) -> None:
        wanted = fields.pop("filter", None) or pb.RunFilter()
        request = pb.WatchRunsRequest(filter=wanted, resume_token=token, **fields)
        super().__init__(stub.WatchRuns(request, timeout=60))
        self.runs: dict[bytes, pb.Run] = {}
        self.states: dict[bytes, list[int]] = {}
        self.order: list[bytes] = []
        self.token = token

    def next(self) -> Any:
        message = super().next()
        if message is not None:
            for run in message.runs:
                self.runs[run.run_id] = run
                self.states.setdefault(run.run_id, []).append(run.state)
                self.order.append(run.run_id)
            self.token = message.resume_token
        return message

    def caught_up(self) -> "Watching":
        """Read until everything was told that was there."""
        while not self.next().caught_up:
            pass
        return self

    def until_state(self, run_id: bytes, state: int) -> pb.Run:
        """Read until a run was told to be in a state."""
        self.until(lambda: state in self.states.get(run_id, ()))
        return self.runs[run_id]


class Tailing(Stream):
    """A log that is followed, and the texts of peers that came of it."""

    def __init__(self, stub: Any, run_id: bytes, token: str = "") -> None:
        request = pb.TailRunLogsRequest(run_id=run_id, page_token=token)
        super().__init__(stub.TailRunLogs(request, timeout=60))
        self.texts: list[str] = []
        self.token = token
        self.complete = False

    def next(self) -> Any:
        message = super().next()
        if message is not None:
            written = zip(message.logs.loggers, message.logs.messages, strict=True)
            # What the control plane says of runs itself is not what they wrote.
            self.texts += [text for logger, text in written if not logger.startswith("taskyard.")]
            self.token = message.next_page_token
            self.complete = message.complete
        return message
