"""What a future has of the outcome of its run: as it came, decoded, or dropped and read again.

Invariant: while the outcome is said to be decoded the value is there, or the outcome is about to be dropped.
Whoever decodes stores the value first, whoever drops takes it first, and neither waits for the other.
"""

from typing import TYPE_CHECKING, Any, Final
from uuid import UUID

from taskyard._data.values.awaited import AwaitedRun
from taskyard._data.values.kept import DECODED, SMALL_BYTES, Dropped
from taskyard._data.values.told import Told
from taskyard._engine.futures.waiting import wait_again
from taskyard.exceptions import ConnectionFailed, MissingResult, RunNotFound, TaskyardError
from taskyard_api.v1 import common_pb2

if TYPE_CHECKING:
    from taskyard._data.runs.state import State
    from taskyard._data.values.awaited import Held, Outcome

UNDECODED: Final = object()
STATE_BYTES: Final = 1_024
"""What the state takes of a run that did not end with an ordinary value, with its exception perhaps."""
READ_AGAIN_SECONDS: Final = 300.0
"""How long an outcome may take that is read again, a restart of the control plane included."""


class Local:
    """A value, or an exception, that a run of this process has ended with: nothing is read in its place."""

    __slots__ = ("value",)

    def __init__(self, value: Any) -> None:
        """Hold it."""
        self.value = value


class HeldRun(AwaitedRun):
    """An awaited run whose value somebody asks for."""

    __slots__ = ("_state", "_value")

    _state: "State[Any] | None"
    _value: Any

    @property
    def outcome(self) -> "Held | None":
        """What became of the run; what was dropped is read again, unless it was an ordinary value."""
        outcome = self._outcome
        if isinstance(outcome, Dropped) and not outcome.is_plain:
            outcome = self._read_again(outcome)
        return outcome.read() if isinstance(outcome, Told) else outcome

    def drop(self, plain: Dropped, other: Dropped) -> Dropped | None:
        """Drop the outcome, and what was made of it; values of this process are kept."""
        outcome = self._outcome
        if type(self._value) is Local:
            if type(outcome) is bytes:
                self._outcome = DECODED
            return None
        # Before the outcome: who decodes meanwhile stores the value first, and what says so is replaced here.
        self._value, self._state = UNDECODED, None
        if outcome is DECODED or type(outcome) is bytes:
            self._outcome = plain
            return plain
        if isinstance(outcome, Told) and not outcome.read().result.HasField("blob"):
            self._outcome = other
            return other
        return None

    def _read_again(self, dropped: Dropped) -> "Outcome":
        """Read an outcome that was dropped.

        Raises:
            MissingResult: The control plane has the run no more.
            ConnectionFailed: It does not answer.
            TaskyardError: The session is over.
        """
        again = self.origin.read_again(self, dropped)
        what = f"the result of task run {UUID(bytes=self.run_id)}"
        if not wait_again(again, READ_AGAIN_SECONDS):
            raise ConnectionFailed(
                f"{what} was not kept in memory, and the control plane has not answered within"
                f" {READ_AGAIN_SECONDS:g} seconds; ask for it again"
            )
        outcome = again.outcome
        if isinstance(outcome, RunNotFound) or not outcome:
            raise MissingResult(
                f"{what} is no longer at the control plane, and it was not kept in memory: take results"
                " before their runs are removed, or raise TASKYARD_RESULTS_IN_MEMORY"
            )
        if isinstance(outcome, TaskyardError):
            raise outcome
        assert isinstance(outcome, bytes | Told)  # it was settled by the session
        self.take_back(dropped, outcome)
        return outcome

    def _weigh_blob(self, payload: common_pb2.Payload) -> None:
        """Note how large a value is that was read from a blob, and is kept from now on."""
        if payload.HasField("blob") and payload.blob.size > SMALL_BYTES:
            self.weigh(payload.blob.size)


def is_plain(outcome: "Held | None") -> bool:
    """Say whether an outcome is an ordinary value of a completed run, decoded or dropped perhaps."""
    return type(outcome) is bytes or outcome is DECODED or (isinstance(outcome, Dropped) and outcome.is_plain)
