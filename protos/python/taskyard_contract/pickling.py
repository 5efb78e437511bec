"""Pickling of user code and data: the only module that imports cloudpickle.

The control plane may not reach it, directly or through others: it never unpickles. Plain pickle comes
first because it is ten times faster; what it refuses (lambdas, closures, classes and functions of
``__main__``) goes through cloudpickle.
"""

import pickle
import sys
from typing import Any, Final

import cloudpickle

ENCODING: Final = "python/pickle5"
PROTOCOL: Final = 5

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
    data: bytes = cloudpickle.dumps(value, PROTOCOL)
    return data


def register_by_value(module_name: str) -> None:
    """Make code of a module that other processes cannot import travel by value."""
    module = sys.modules.get(module_name)
    if module is not None:
        cloudpickle.register_pickle_by_value(module)
