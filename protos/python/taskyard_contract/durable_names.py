"""The names of the contract that pickles hold, for whoever writes them below the SDK.

Pickles lie in databases for years and name functions by module, so this module is never renamed, nothing is
ever removed from it, and a function gets further arguments only with defaults that mean what their absence
meant before. They take plain values, never classes of ours.
"""

from types import CodeType
from typing import Any

from taskyard_contract import code_lines


def exception(kind: type[BaseException], args: tuple[Any, ...], attributes: dict[str, Any]) -> BaseException:
    """Return an exception whose constructor wants other arguments than it was made with."""
    error: BaseException = kind.__new__(kind, *args)
    error.args = args
    vars(error).update(attributes)
    return error


def code(args: tuple[Any, ...], filename: str, lines: str = "") -> CodeType:
    """Return a code object that travelled by value, and let tracebacks show its lines.

    Args:
        args: What `CodeType` takes, in this minor version of Python.
        filename: Its file where it was pickled.
        lines: The text of its lines; "" for a code object inside of another one.
    """
    return code_lines.arrived(CodeType(*args).replace(co_filename=filename), lines)
