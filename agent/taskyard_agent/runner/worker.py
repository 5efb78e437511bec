"""A worker: executes chunks of runs, one run after the other, in its main thread.

Per run it notes the progress board, builds an `Invocation`, calls the code and appends a tuple; everything
else is per chunk. Invariant: whatever user code does short of ending the process, the worker survives it and
reports the run.
"""

import contextvars
import logging
import os
import signal
import socket
import sys
import threading
import time
import traceback
from collections import deque
from collections.abc import Iterator, Sequence
from pathlib import Path
from types import FrameType
from typing import Final, NoReturn

from taskyard_agent.runner import frames
from taskyard_agent.runner.blob_files import BlobFiles
from taskyard_agent.runner.code_shelf import CodeShelf, UnavailableCode
from taskyard_agent.runner.lane import Lane, LaneEnded, Opened
from taskyard_agent.runner.lane_board import LaneBoard
from taskyard_agent.runner.lane_link import LaneLink
from taskyard_agent.runner.link import Link
from taskyard_agent.runner.output import children, no_terminal, printed, unshown_records
from taskyard_agent.runner.progress_board import BoardWriter, note_run
from taskyard_agent.runner.report_columns import Outcome, Packer, raised
from taskyard_agent.runner.surroundings import NoWorld, Surroundings
from taskyard_api.v1 import agent_service_pb2 as pb
from taskyard_api.v1 import template_pb2
from taskyard_contract.assignments.chunk import Chunk
from taskyard_contract.blobs.directory import BlobDirectory
from taskyard_contract.execution import Invocation, TaskCode, WorkerHost, result_encoding_of
from taskyard_contract.programs.forking import TerminationHold
from taskyard_contract.references import read_stored_with
from taskyard_contract.world import main_module, module_parts

FLUSH_NS: Final = 5_000_000
"""Results wait so long for others, because the price of a report is shared by all that is in it. What ended
before a run that takes long does not wait for its end: the agent sees that and asks for it."""
FLUSH_BYTES: Final = 1024 * 1024
"""Or until they are so large together: a frame should not grow far beyond what a socket takes at once."""


class Leaving(BaseException):
    """This process executes nothing more; `code` is its exit code."""

    code = os.EX_OK


class Terminated(Leaving):
    """The agent ends this process, with a moment for the run to clean up."""

    code = 128 + signal.SIGTERM


class Copied(Leaving):
    """A run has forked this process and returned in the copy as well; the worker executes all others."""


class CopyFailed(Copied):
    """The same, and the run has failed in the copy, of which nobody else is told."""

    code = 1


class Worker:
    """What executes runs in this process."""

    def __init__(
        self, data: socket.socket, control: socket.socket, board: int, blobs: Path, own_log: int = 2
    ) -> None:
        """Serve an agent over two sockets and a progress board.

        Args:
            data: For frames.
            control: For revocations.
            board: Descriptor of the board.
            blobs: Where large payloads are, as files.
            own_log: Descriptor to write to what is said by nobody's run.
        """
        self._data, self._control = data, control
        self._slots = board
        self._board = BoardWriter(board)
        self._blobs = BlobFiles(blobs)
        read_stored_with(self._blobs.value)
        self._packer = Packer(self._blobs)
        self._link = Link(data, control, self._board, self._packer)
        self._link.output.own_log = own_log
        self._host: WorkerHost = self._link
        self._shelf = CodeShelf(self._blobs)
        self._surroundings = Surroundings()
        self._templates: dict[int, template_pb2.TemplateDefinition] = {}
        self._context = contextvars.copy_context()
        self._leaving: type[Leaving] | None = None
        self._hold = TerminationHold()

    def serve(self) -> None:
        """Execute chunks until the agent closes the link."""
        signal.signal(signal.SIGTERM, self._on_terminate)
        self._watch_output()
        os.register_at_fork(
            before=self._hold.begin, after_in_parent=self._hold.end, after_in_child=self._on_copied
        )
        threading.Thread(target=self._link.serve_control, name="taskyard-control", daemon=True).start()
        ready = frames.READY_BODY.pack(os.getpid(), frames.LINK_VERSION, self._link.output.mark)
        self._link.send(frames.READY, ready)
        reader = frames.FrameReader()
        while data := self._data.recv(frames.READ_BYTES):
            received = iter(reader.feed(data))
            for kind, body in received:
                if kind == frames.LANE:
                    return self._become_lane(reader, received)
                self._on_frame(kind, body)
        return None

    def _become_lane(self, reader: frames.FrameReader, rest: Iterator[tuple[int, bytes]]) -> None:
        """Execute coroutines from here on, all that come together."""
        slots = LaneBoard(self._slots)
        link = LaneLink(self._data, self._control, self._board, self._packer, slots)
        link.print_from(self._link.output)
        link.output.is_shared = True
        lane = Lane(self, link, slots, self._data)
        self._link.successor = link
        lane.serve(reader, rest)

    def _watch_output(self) -> None:
        printed.install(self._link.output)
        unshown_records.install(self._link.output.record)
        no_terminal.install()
        children.notice(self._link.output.child_begins)

    def _on_terminate(self, signum: int, frame: FrameType | None) -> NoReturn:
        self._leaving = Terminated
        raise Terminated

    def _on_copied(self) -> None:
        self._leaving = Copied
        self._link.output.become_copy()
        # It ends as any process: pools end theirs so, perhaps while they hold what all of them share.
        if signal.getsignal(signal.SIGTERM) == self._on_terminate:
            signal.signal(signal.SIGTERM, signal.SIG_DFL)
        self._hold.end()

    def _on_frame(self, kind: int, body: bytes) -> None:
        if kind in (frames.CHUNK, frames.CHUNK_IN_FILE):
            self._on_chunk(kind, body)
        else:
            self.take(kind, body)

    def take(self, kind: int, body: bytes) -> None:
        """Take a frame that is no chunk."""
        if kind == frames.TEMPLATE:
            (index,) = frames.TEMPLATE_HEAD.unpack_from(body)
            definition = template_pb2.TemplateDefinition.FromString(body[frames.TEMPLATE_HEAD.size :])
            self._templates[index] = definition
        elif kind == frames.WORLD:
            (size,) = frames.WORLD_HEAD.unpack_from(body)
            start = frames.WORLD_HEAD.size
            self._surroundings.announce(body[start : start + size], os.fsdecode(body[start + size :]))
        elif kind == frames.NO_WORLD:
            self._surroundings.miss(body.decode())
        elif kind == frames.FORGET:
            self._templates.clear()
            self._shelf.clear()
        elif kind == frames.SETTINGS:
            self._settle(body)

    def _settle(self, body: bytes) -> None:
        head = frames.SETTINGS_BODY
        self._packer.max_inline, self._packer.max_payload = head.unpack_from(body)
        store = os.fsdecode(body[head.size :])
        self._blobs.store = BlobDirectory(Path(store)) if store else None

    def open(self, kind: int, frame: bytes, restore: bool = True) -> Opened:
        """Read a chunk and load its code; with `restore`, put back what runs have changed around them."""
        number, index, epoch, start, stop, ids_size = frames.CHUNK_HEAD.unpack_from(frame)
        ids_start = frames.CHUNK_HEAD.size
        rest = frame[ids_start + ids_size :]
        definition = self._templates[index]
        ids = frame[ids_start : ids_start + ids_size]
        (self._link.successor or self._link).ids = ids
        with self._link.output.aside():
            code = self._code_of(definition, restore)
        if kind == frames.CHUNK_IN_FILE:
            chunk = Chunk.of_file(epoch, ids, definition.template, frames.blob_of(rest), self._blobs)
        else:
            body = pb.ChunkBody.FromString(rest)
            chunk = Chunk(epoch, ids, definition.template, body, self._blobs)
        return Opened(number, start, stop, chunk, code)

    def _on_chunk(self, kind: int, frame: bytes) -> None:
        number, _, _, start, stop, _ = frames.CHUNK_HEAD.unpack_from(frame)
        # Begun and noted before anything is parsed: if loading the code kills the process, it was this run.
        # And the agent, which sees it executing, must not get it back meanwhile as one that has not started.
        positions = self._link.begin(number, start, stop)
        if positions is None:
            return
        note_run(self._board.map, 0, number, start, time.monotonic_ns())
        _, _, _, chunk, code = self.open(kind, frame)
        self._packer.encoding = result_encoding_of(chunk.template)
        self._packer.arguments = chunk.template.encoding
        self._link.wall_ns = time.time_ns() - time.monotonic_ns()
        self._execute(chunk, number, start, positions, code)
        if self._link.output.loose:
            self._link.output.settle()
        self.say_changes(chunk.invocation(stop - 1), self._link)
        self._link.flush()
        if self._leaving is not None:
            raise self._leaving
        if self._link.torn:
            raise RuntimeError("a report to the agent was cut off: what it told of has to be executed again")
        self._board.idle()

    def say_changes(self, run: Invocation, link: Link) -> None:
        """Say in the log of a run what has been changed that others will not see."""
        if names := main_module.altered():
            _say(_altered(names), run, link)
        for trouble in module_parts.troubles():
            _say(trouble, run, link)

    def _code_of(self, definition: template_pb2.TemplateDefinition, restore: bool) -> TaskCode:
        """Return what executes the runs of a template, in the world of their program."""
        try:
            self._surroundings.enter(definition.variables, restore)
        except NoWorld as error:
            return UnavailableCode(
                f"task '{definition.template.name}' cannot be executed here: {error}", error
            )
        return self._shelf.find(definition)

    def _execute(
        self, chunk: Chunk, number: int, position: int, positions: deque[int], code: TaskCode
    ) -> None:
        # Local names for everything, and no call that is not needed: at tens of thousands of runs a
        # second an attribute looked up in this loop shows in the profile.
        link, host, execute, invoke = self._link, self._host, code.execute, chunk.invocation
        plain, encoding = chunk.plain, chunk.template.encoding
        board, monotonic, ended, next_one = self._board.map, time.monotonic_ns, link.ended, positions.popleft
        outcome: Outcome | None
        fresh, printed, limit = self._context.copy, link.output, self._packer.max_inline
        size, began = 0, monotonic()
        flush_at = began + FLUSH_NS
        while True:
            note_run(board, 0, number, position, began)
            try:
                invocation = invoke(position)
                outcome = None if plain else chunk.complete(invocation, position)
                if outcome is None:
                    # What a run sets in a context (a variable, the precision of decimals) is its own.
                    outcome = fresh().run(execute, invocation, host)
            except BaseException as error:
                outcome = raised(error, encoding)
            if self._leaving is not None:
                self._note_copy(outcome)
                return
            if printed.loose:
                printed.settle()
            now = monotonic()
            if type(outcome) is bytes and len(outcome) <= limit:
                ended.append((outcome, began, now))
                size += len(outcome)
            else:
                # Before anything else executes: what was laid out is still the memory of the run's own value.
                placed = self._packer.place(outcome, chunk.run_id(position), chunk.epoch(position))
                ended.append((placed, began, now))
                size += placed.ByteSize() if isinstance(placed, pb.ReportException) else 0
                now = monotonic()
            began = now
            if now >= flush_at or size > FLUSH_BYTES:
                link.flush()
                if link.torn:
                    return
                size, flush_at = 0, now + FLUSH_NS
            try:
                position = next_one()
            except IndexError:
                return

    def _note_copy(self, outcome: Outcome) -> None:
        """Let the exit code of a copy say whether its run has failed: there is no report of it."""
        if not isinstance(outcome, pb.ReportException) or self._leaving is not Copied:
            return
        if outcome.kind == pb.REPORT_KIND_FAILED:
            self._leaving = CopyFailed
            sys.stderr.write(outcome.failure.traceback)


def main(data: socket.socket, control: socket.socket, board: int, blobs: Path, own_log: int = 2) -> NoReturn:
    """Be a worker until the agent closes the link or ends the process; never returns."""
    code = os.EX_OK
    try:
        Worker(data, control, board, blobs, own_log).serve()
    except Leaving as leaving:
        code = leaving.code
    except LaneEnded as ended:
        code = int(ended.code or 0)
    except ConnectionError:
        code = os.EX_OK  # the agent is gone
    except BaseException:
        os.write(own_log, traceback.format_exc().encode())
        code = os.EX_SOFTWARE
    finally:
        _leave(code)


def _leave(code: int) -> NoReturn:
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except (OSError, ValueError):
            continue  # nobody reads it any more
    # Not sys.exit: threads that user code left behind must not keep the process.
    os._exit(code)


def _say(text: str, run: Invocation, link: Link) -> None:
    """Have a warning in the log of a run."""
    at_us = time.time_ns() // 1000
    link.log((run.run_id, at_us, logging.WARNING, "taskyard.task_runs", text, run.run_name))


def _altered(names: Sequence[str]) -> str:
    """Say which globals of the script runs have changed: neither others nor the script see that."""
    what = ", ".join(f"'{name}'" for name in names)
    return (
        f"a run has changed {what} of the main module: only later runs in the same worker see that, "
        "neither the program nor runs elsewhere do; return what others are to have"
    )
