"""Futures of runs whose results are no pickles, but JSON, bytes, or whatever else; or are read each time.

Invariant: what such a run has made is read in an encoding that its template allows, and never unpickled
unless its arguments were pickles too.
"""

from functools import cached_property
from typing import TYPE_CHECKING, Any, TypeVar

from taskyard._data.runs.state import State
from taskyard._data.values.awaited import Origin
from taskyard._data.values.kept import DECODED
from taskyard._engine.futures.future import Future
from taskyard._engine.futures.held import UNDECODED
from taskyard.exceptions import ResultTypeError
from taskyard.utilities.annotations import NotSet
from taskyard_api.v1 import common_pb2
from taskyard_contract.encodings import JSON, PICKLE, decode, is_expected

if TYPE_CHECKING:
    from pydantic import TypeAdapter

R = TypeVar("R")


class Reading:
    """How the results of a task are read."""

    def __init__(
        self,
        name: str,
        encoding: str,
        arguments: str = PICKLE,
        result: Any = NotSet,
        *,
        keeps: bool = True,
    ) -> None:
        """Describe it.

        Args:
            name: The task's, for messages.
            encoding: Of ordinary results.
            arguments: The encoding of arguments, which says whether anything may be unpickled.
            result: The type that results are converted to, if one was declared.
            keeps: Whether futures keep what they have read.
        """
        self.name = name
        self.encoding = encoding
        self.arguments = arguments
        self.result = result
        self.keeps = keeps

    def ordinary(self, data: bytes) -> Any:
        """Return an ordinary result.

        Raises:
            ResultTypeError: It does not have the declared type.
        """
        return self._read(data, self.encoding, "")

    def payload(self, payload: common_pb2.Payload, origin: Origin) -> Any:
        """Return what a payload holds.

        Raises:
            ValueError: It is in an encoding that nobody asked for.
            ResultTypeError: It does not have the declared type.
        """
        body = payload.WhichOneof("body")
        if body is None:
            return None
        encoding = payload.encoding or self.encoding
        if not is_expected(encoding, self.arguments):
            raise ValueError(
                f"a run of '{self.name}' has a result in '{encoding}', and was asked for '{self.encoding}'"
            )
        data = payload.data if body == "data" else origin.fetch(payload.blob)
        return self._read(data, encoding, payload.type)

    def _read(self, data: bytes | memoryview, encoding: str, type_name: str) -> Any:
        if self.result is NotSet:
            return decode(data, encoding, type_name)
        from pydantic import ValidationError

        try:
            if encoding == JSON:
                return self._adapter.validate_json(bytes(data))
            return self._adapter.validate_python(decode(data, encoding, type_name))
        except ValidationError as error:
            raise ResultTypeError(
                f"the result of '{self.name}' does not have the declared type {self.result!r}: {error}"
            ) from error

    @cached_property
    def _adapter(self) -> "TypeAdapter[Any]":
        from pydantic import TypeAdapter

        return TypeAdapter(self.result)


class TypedFuture(Future[R]):
    """A future that reads its result in another way."""

    __slots__ = ("_reading",)

    def __init__(self, run_id: bytes, origin: Origin, reading: Reading) -> None:
        """Make the future of a run that was submitted from `origin`."""
        super().__init__(run_id, origin)
        self._reading = reading

    def _result(self, raise_on_failure: bool) -> R:
        outcome = self._outcome
        return self._decoded(outcome) if type(outcome) is bytes else super()._result(raise_on_failure)

    def _decoded(self, data: bytes) -> R:
        if self._value is not UNDECODED:
            return super()._decoded(data)
        value: R = self._reading.ordinary(data)
        if self._reading.keeps:
            self._value, self._outcome = value, DECODED
        return value

    def _final_state(self) -> State[R]:
        if self._reading.keeps:
            return super()._final_state()
        state = self._make_state()
        state.keep_nothing()
        return state

    def keep_local(self, value: Any) -> None:
        """Remember what the run in this process ended with; values only where they are kept."""
        if self._reading.keeps or isinstance(value, BaseException):
            super().keep_local(value)

    def _decode_payload(self, payload: common_pb2.Payload) -> Any:
        value = self._reading.payload(payload, self.origin)
        if self._reading.keeps:
            self._weigh_blob(payload)
        return value
