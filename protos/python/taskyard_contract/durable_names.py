"""The names of the contract that pickles hold, for whoever writes them below the SDK.

Pickles lie in databases for years and name functions by module, so this module is never renamed, nothing is
ever removed from it, and a function gets further arguments only with defaults that mean what their absence
meant before. They take plain values, never classes of ours.
"""

from typing import Any


def exception(kind: type[BaseException], args: tuple[Any, ...], attributes: dict[str, Any]) -> BaseException:
    """Return an exception whose constructor wants other arguments than it was made with."""
    error: BaseException = kind.__new__(kind, *args)
    error.args = args
    vars(error).update(attributes)
    return error
