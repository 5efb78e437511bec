"""Values of its own for each run, though it is executed in the process that made them.

A program that is right with threads has to be right with agents. There a task gets a copy of its arguments as
they were when it was called, each attempt a new one, and so does each run that another one's result goes to:
what one of them changes, nobody else sees. Here the same is true of all that plain pickle can write.

What it cannot write (locks, connections, lambdas, objects of local classes) is what threads are chosen for.
Such a call gets the very objects that it was made with, all of them, because they may belong together: a list
and its lock, for example. With agents it is refused, so nothing differs without being said.

Invariant: what is small is copied when it is handed over, so that no change after that is seen either; what
is large is copied when the run starts, because as many copies as there are runs that wait might not fit.
"""

import pickle
from collections.abc import Callable, Iterator, Mapping
from typing import Any, Final

from taskyard._data.runs.state import is_state
from taskyard._engine.submission.ports import Arguments
from taskyard_contract.pickling import PROTOCOL
from taskyard_contract.references import begin_collecting, resolving

SMALL_BYTES: Final = 64 * 1024
"""What is copied at once, and kept until the run has ended, or as long as the future of a result."""
_UNCHANGEABLE: Final = frozenset({str, bytes, int, float, complex, bool, type(None)})

Copied = bytes | bool
"""A copy of a small value; otherwise whether the value can be copied when it is needed."""


def holds_states(call: Arguments) -> bool:
    """Say whether a call was given states: what they hold is read when the run starts."""
    args, kwargs = call
    return any(map(is_state, args)) or any(map(is_state, kwargs.values()))


def copied(value: Any, references: dict[bytes, int] | None = None) -> Copied:
    """Copy a value for later, if it is small; notes the runs whose futures are in it."""
    file = _Small()
    outside = begin_collecting(references)
    try:
        pickle.Pickler(file, PROTOCOL).dump(value)
    except _TooLarge:
        return True
    except Exception:  # pickling runs foreign code, which may raise anything
        return False
    finally:
        begin_collecting(outside)
    return b"".join(file.parts)


def own(value: Any, copy: Copied = True) -> Any:
    """Return a value for one run alone, or the very value where it cannot be copied."""
    if type(value) in _UNCHANGEABLE or copy is False:
        return value
    try:
        return pickle.loads(pickle.dumps(value, PROTOCOL) if copy is True else copy)
    except Exception:  # foreign code again
        return value


def own_call(data: bytes, value_of: Callable[[bytes], Any]) -> Any:
    """Return a copied call, with what `value_of` gives for a run in the places of its futures."""
    with resolving(_Values(value_of)):
        return pickle.loads(data)


class _TooLarge(Exception):
    """The value takes more than is copied at once."""


class _Small:
    """A file for as many bytes as are copied at once."""

    def __init__(self) -> None:
        self.parts: list[bytes] = []
        self._room = SMALL_BYTES

    def write(self, data: Any) -> None:
        self._room -= memoryview(data).nbytes
        if self._room < 0:
            raise _TooLarge
        self.parts.append(bytes(data))


class _Values(Mapping[bytes, Any]):
    """The values of runs, asked for once each: what a call names twice is one object in it."""

    def __init__(self, value_of: Callable[[bytes], Any]) -> None:
        self._value_of = value_of
        self._known: dict[bytes, Any] = {}

    def __getitem__(self, run_id: bytes) -> Any:
        if run_id not in self._known:
            self._known[run_id] = self._value_of(run_id)
        return self._known[run_id]

    def __contains__(self, run_id: object) -> bool:
        return True

    def __iter__(self) -> Iterator[bytes]:
        return iter(self._known)

    def __len__(self) -> int:
        return len(self._known)
