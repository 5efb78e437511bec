"""What `task.map(...)` expands to.

Ten thousand children are ordinary, so nothing here is done per child in Python where the interpreter
can do it: arguments are columns, and children are their rows.
"""

import io
from collections.abc import Iterable, Iterator, Mapping
from itertools import repeat
from typing import Any

from taskyard._data.runs.state import is_state
from taskyard._engine.definitions.signatures import CallSignature
from taskyard._engine.futures.future import Future
from taskyard._engine.futures.in_values import upstream_error
from taskyard.exceptions import MappingLengthMismatch, MappingMissingIterable
from taskyard.utilities.annotations import Annotation, allow_failure, unmapped

Call = tuple[tuple[Any, ...], dict[str, Any]]


class Expansion:
    """The children of one `map`."""

    __slots__ = ("calls", "constants", "count", "given", "resolved")

    def __init__(
        self,
        count: int,
        calls: Iterator[Call],
        resolved: tuple[Any, ...],
        constants: tuple[Any, ...] = (),
        given: Call = ((), {}),
    ) -> None:
        """Describe the children.

        Args:
            count: How many there are.
            calls: Arguments of each, in order. The dicts may be one and the same object, and are not to be
                changed.
            resolved: Futures whose value was needed to know the children; each child depends on all of
                them.
            constants: Values that all children have.
            given: The arguments as they were.
        """
        self.count = count
        self.constants = constants
        self.calls = calls
        self.resolved = resolved
        self.given = given


def expand(signature: CallSignature, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> Expansion:
    """Expand the arguments of a `map`.

    Iterables are taken element by element, everything else (strings, bytes, files, `unmapped` values)
    is the same for each child. A list of futures maps over the futures without waiting; a single future
    is waited for, because its value says how many children there are.

    Raises:
        ParameterBindError: The arguments do not match the signature.
        MappingMissingIterable: No argument is iterable.
        MappingLengthMismatch: Iterables have different lengths.
        UpstreamTaskError: A future to map over did not complete.
    """
    signature.check(args, kwargs)
    resolved: list[Any] = []
    columns = [_column(value, resolved) for value in args]
    named = {name: _column(value, resolved) for name, value in kwargs.items()}
    count = _common_length(signature, columns, named)
    rows = zip(*map(_cells, columns), strict=False) if columns else repeat((), count)
    constants = [column.value for column in (*columns, *named.values()) if isinstance(column, _Constant)]
    calls = zip(rows, _keyword_rows(named), strict=False)
    return Expansion(count, calls, tuple(resolved), tuple(constants), (args, dict(kwargs)))


class _Constant:
    """A value that is the same for each child."""

    __slots__ = ("value",)

    def __init__(self, value: Any) -> None:
        self.value = value


_Column = list[Any] | _Constant


def _column(value: Any, resolved: list[Any]) -> _Column:
    """Turn one argument into a value per child, or a constant."""
    if type(value) is list:
        return value.copy()
    if isinstance(value, unmapped):
        return _Constant(value.value)
    if isinstance(value, Annotation):
        inner = _column(_top_value(value.value, resolved, isinstance(value, allow_failure)), resolved)
        if isinstance(inner, _Constant):
            return _Constant(value.rewrap(inner.value))
        return [value.rewrap(item) for item in inner]
    value = _top_value(value, resolved, False)
    return list(value) if _is_mapped(value) else _Constant(value)


def _top_value(value: Any, resolved: list[Any], may_fail: bool) -> Any:
    """Replace a future, or a state, by its value."""
    if is_state(value):
        return value.result(raise_on_failure=not may_fail)
    if not isinstance(value, Future):
        return value
    resolved.append(value)
    try:
        return value.result(raise_on_failure=not may_fail)
    except Exception as error:
        state = value.state
        if state.is_completed() or not (state.is_final() or state.name == "NotReady"):
            raise  # the connection's failure, not the run's
        raise upstream_error(value) from error


def _is_mapped(value: object) -> bool:
    if isinstance(value, (str, bytes, io.IOBase)):
        return False
    try:
        iter(value)  # type: ignore[call-overload]  # this is the question
    except TypeError:
        return False
    return True


def _common_length(signature: CallSignature, columns: list[_Column], named: Mapping[str, _Column]) -> int:
    lengths = {len(column) for column in (*columns, *named.values()) if isinstance(column, list)}
    if len(lengths) == 1:
        return lengths.pop()
    labelled = {**dict(zip(_labels(signature, len(columns)), columns, strict=True)), **named}
    if not lengths:
        raise MappingMissingIterable(
            "No iterable parameters were received. Parameters for map must include at least one iterable. "
            f"Parameters: {sorted(labelled)}"
        )
    found = {name: len(column) for name, column in labelled.items() if isinstance(column, list)}
    raise MappingLengthMismatch(
        "Received iterable parameters with different lengths. Parameters for map must all be the same "
        f"length. Got lengths: {found}"
    )


def _labels(signature: CallSignature, count: int) -> list[str]:
    """Return the names of the first positional parameters; ``*args`` gives all further ones."""
    labels: list[str] = []
    for parameter in signature.signature.parameters.values():
        if parameter.kind is parameter.VAR_POSITIONAL:
            labels += [f"{parameter.name}[{position}]" for position in range(count - len(labels))]
        else:
            labels.append(parameter.name)
    return labels[:count]


def _cells(column: _Column) -> Iterable[Any]:
    return repeat(column.value) if isinstance(column, _Constant) else column


def _keyword_rows(named: Mapping[str, _Column]) -> Iterator[dict[str, Any]]:
    if not named:
        return repeat({})
    if all(isinstance(column, _Constant) for column in named.values()):
        return repeat({name: next(iter(_cells(column))) for name, column in named.items()})
    names = tuple(named)
    return (dict(zip(names, row, strict=True)) for row in zip(*map(_cells, named.values()), strict=False))
