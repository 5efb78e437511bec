"""Pickling of user code and data: the only module that imports cloudpickle.

The control plane may not reach it, directly or through others: it never unpickles. Plain pickle comes
first because it is ten times faster; what it refuses (lambdas, closures, classes and functions of
``__main__``) goes through cloudpickle.
"""

import io
import pickle
import sys
from types import CodeType
from typing import Any, Final

import cloudpickle

from taskyard_contract import code_lines, durable_names
from taskyard_contract.languages.encoding_names import PICKLE

ENCODING: Final = PICKLE
PROTOCOL: Final = 5
"""The one that `ENCODING` names, whatever Python's default is: other versions of Python have to read it."""

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
    with io.BytesIO() as file:
        _Travelling(file, protocol=PROTOCOL).dump(value)
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


def _arguments_of(code: CodeType) -> tuple[Any, ...]:
    """Return what makes a code object again; which arguments that takes, cloudpickle knows."""
    _, arguments = cloudpickle.CloudPickler.dispatch_table[CodeType](code)
    return tuple(arguments)


def register_by_value(module_name: str) -> None:
    """Make code of a module that other processes cannot import travel by value."""
    module = sys.modules.get(module_name)
    if module is not None:
        cloudpickle.register_pickle_by_value(module)
