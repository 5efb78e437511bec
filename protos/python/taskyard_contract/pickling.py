"""Pickling of user code and data: the only module that imports cloudpickle.

The control plane may not reach it, directly or through others: it never unpickles. Plain pickle comes
first because it is ten times faster; what it refuses (lambdas, closures, classes and functions of
``__main__``) goes through cloudpickle.
"""

import io
import pickle
import re
import sys
from types import CodeType
from typing import Any, Final, TypeVar

import cloudpickle

from taskyard_contract import code_lines, durable_names
from taskyard_contract.languages.encoding_names import PICKLE

ENCODING: Final = PICKLE
PROTOCOL: Final = 5
"""The one that `ENCODING` names, whatever Python's default is: other versions of Python have to read it."""

_DRAWN: Final = re.compile("[0-9a-f]{32}")
_WRITTEN_IN_PYTHON: Final = 1 << 9
"""Py_TPFLAGS_HEAPTYPE."""
_SCALARS: Final = (str, bytes, int, float, bool, type(None))

loads = pickle.loads


def dumps(value: Any) -> bytes:
    """Pickle a value for another process.

    Raises:
        pickle.PicklingError, TypeError, AttributeError: The value cannot be pickled.
    """
    try:
        data = pickle.dumps(value, PROTOCOL)
    except (pickle.PicklingError, TypeError, AttributeError):
        return dumps_by_value(value)
    # Plain pickle writes classes and functions of the script as references to ``__main__``, which in
    # another process is another module.
    return dumps_by_value(value) if b"__main__" in data else data


def dumps_by_value(value: Any) -> bytes:
    """Pickle a value with the code it refers to, where that code cannot be imported elsewhere."""
    return _dumped(value, _Travelling)


def dumps_for_key(value: Any) -> bytes:
    """Pickle a value so that equal values give equal bytes, wherever their code lies."""
    return _dumped(value, _Comparing)


def _dumped(value: Any, kind: type[Any]) -> bytes:
    with io.BytesIO() as file:
        kind(file, protocol=PROTOCOL).dump(value)
        return file.getvalue()


class _Travelling(cloudpickle.CloudPickler):  # type: ignore[misc]  # its package has no types
    """Writes code with its file and its lines, which cloudpickle leaves out, from 3.1.3 on both."""

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self._inside: set[CodeType] = set()

    def reducer_override(self, obj: Any) -> Any:
        if type(obj) is not CodeType:
            return super().reducer_override(obj)
        lines = "" if obj in self._inside else code_lines.lines_of(obj)
        # What is inside of it comes next, and its lines are among those of the whole.
        self._inside.update(code_lines.inner_codes(obj))
        return durable_names.code, (_arguments_of(obj), obj.co_filename, lines)


class _Comparing(cloudpickle.CloudPickler):  # type: ignore[misc]  # its package has no types
    """Writes code as if it stood in the first line of no file, and all else as it is in every process."""

    def reducer_override(self, obj: Any) -> Any:
        kind = type(obj)
        if kind is CodeType:
            return CodeType, _comparable(_arguments_of(obj.replace(co_filename="", co_firstlineno=1)))
        if kind is TypeVar:
            return _without_drawn(cloudpickle.CloudPickler.dispatch_table[TypeVar](obj))
        reduced = super().reducer_override(obj)
        if isinstance(obj, type):
            return _without_drawn(reduced)
        if reduced is NotImplemented and _is_plain_object(kind) and kind not in self.dispatch_table:
            make, arguments, *state = obj.__reduce_ex__(PROTOCOL)
            return make, arguments, *map(_in_order, state)
        return reduced


def _without_drawn(reduced: Any) -> Any:
    """Return how a class is made without the number that cloudpickle draws for it in each process."""
    if not isinstance(reduced, tuple):
        return reduced
    make, arguments, *rest = reduced
    drawn = (isinstance(one, str) and _DRAWN.fullmatch(one) for one in arguments)
    return (
        make,
        tuple(None if is_drawn else one for one, is_drawn in zip(arguments, drawn, strict=True)),
        *rest,
    )


def _is_plain_object(kind: Any) -> bool:
    """Say whether a class was written in Python, and leaves it to Python how its objects are pickled."""
    return bool(
        kind.__flags__ & _WRITTEN_IN_PYTHON
        and kind.__reduce_ex__ is object.__reduce_ex__
        and kind.__reduce__ is object.__reduce__
    )


def _in_order(state: Any) -> Any:
    """Return the attributes of an object with sets among them in an order that no seed decides."""
    if type(state) is tuple:
        return tuple(map(_in_order, state))
    if type(state) is dict:
        return {name: _in_order(value) for name, value in state.items()}
    if type(state) in (set, frozenset) and all(type(one) in _SCALARS for one in state):
        return type(state), sorted(map(repr, state))
    return state


def _comparable(arguments: tuple[Any, ...]) -> tuple[Any, ...]:
    """Return the arguments of code with constant sets in an order that no seed decides."""
    return tuple(
        tuple(sorted(map(repr, one)) if isinstance(one, frozenset) else one for one in argument)
        if isinstance(argument, tuple)
        else argument
        for argument in arguments
    )


def _arguments_of(code: CodeType) -> tuple[Any, ...]:
    """Return what makes a code object again; which arguments that takes, cloudpickle knows."""
    _, arguments = cloudpickle.CloudPickler.dispatch_table[CodeType](code)
    return tuple(arguments)


def register_by_value(module_name: str) -> None:
    """Make code of a module that other processes cannot import travel by value."""
    module = sys.modules.get(module_name)
    if module is not None:
        cloudpickle.register_pickle_by_value(module)
