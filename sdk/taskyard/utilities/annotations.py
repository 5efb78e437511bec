"""Annotations around arguments: how `map` treats them and how futures inside them are followed.

An annotation is unwrapped on its way to the task, which receives the bare value. References to other
runs are found while arguments are pickled (see `taskyard_contract.references`), so what an annotation
means for them is decided in its `__reduce__`. Outside of that, annotations pickle as themselves.
"""

from typing import TYPE_CHECKING, Any, Final, Generic, Self, TypeVar, final

from taskyard import _durable_names
from taskyard._data.values.awaited import AwaitedRun
from taskyard._missing_features import absent_names
from taskyard.exceptions import NotPicklable
from taskyard_contract import pickling, references
from taskyard_contract.states import UpstreamKind

__all__ = ["Annotation", "BaseAnnotation", "NotSet", "allow_failure", "opaque", "quote", "unmapped"]

T = TypeVar("T")
Reduced = tuple[Any, tuple[Any, ...]]


@final
class NotSetType:
    """The type of `NotSet`, which has no other value; for annotations of options."""

    __slots__ = ()

    def __repr__(self) -> str:
        """Show it as it is written."""
        return "NotSet"

    def __bool__(self) -> bool:
        """Be false, so that `value or default` does what it says."""
        return False

    def __reduce__(self) -> str:
        """Stay one object in all processes."""
        return "NotSet"


NotSet: Final = NotSetType()
"""Stands for an option that was not given, where None is a value of its own."""


_same = _durable_names.value
"""What pickles of release 0.1.0 name."""


class Annotation(Generic[T]):
    """A value with a note on it. Compares by kind and value."""

    __slots__ = ("value",)

    def __init__(self, value: T) -> None:
        self.value = value

    def unwrap(self) -> T:
        """Return the value without the note."""
        return self.value

    def rewrap(self, value: Any) -> Self:
        """Return another value in the same wrapping."""
        return type(self)(value)

    def __eq__(self, other: object) -> bool:
        if type(self) is not type(other):
            return NotImplemented
        return bool(self.value == other.value)

    def __hash__(self) -> int:
        """Hash kind and value; a value without a hash has none in here either."""
        return hash((type(self), self.value))

    def __repr__(self) -> str:
        """Show it as it is written."""
        return f"{type(self).__name__}({self.value!r})"

    def _reduce_argument(self, collected: dict[bytes, int]) -> Reduced:
        """Say how the value travels as an argument, where `collected` receives its references."""
        return _durable_names.value, (self.value,)

    def __reduce__(self) -> Reduced:
        """Unwrap when pickled as an argument of a task, otherwise stay an annotation."""
        collected = references.begin_collecting(None)
        references.begin_collecting(collected)
        if collected is None:
            return type(self), (self.value,)
        return self._reduce_argument(collected)


BaseAnnotation = Annotation
"""The same class, under the name that programs know."""


class unmapped(Annotation[T]):  # noqa: N801  # reads as a word in calls
    """Pass an iterable to every child of a `map` as it is."""

    __slots__ = ()

    def __getitem__(self, _: object) -> T:
        """Return the value for every index."""
        return self.value


class allow_failure(Annotation[T]):  # noqa: N801  # reads as a word in calls
    """Start the task even if the upstream runs inside failed; it receives their exceptions as values.

    Runs that crashed or were cancelled are not admitted.
    """

    __slots__ = ()

    def _reduce_argument(self, collected: dict[bytes, int]) -> Reduced:
        # The value is pickled apart, so that the references inside it, at any depth, are known by name.
        data, inside = _pickle_apart(self.value, {})
        for run_id in inside or ():
            references.note(run_id, UpstreamKind.DATA_OR_FAILURE)
        return pickling.loads, (data,)


class quote(Annotation[T]):  # noqa: N801  # reads as a word in calls
    """Pass a value without following anything inside it: it may not hold futures."""

    __slots__ = ()

    def _reduce_argument(self, collected: dict[bytes, int]) -> Reduced:
        data, inside = _pickle_apart(self.value, {})
        if inside:
            raise NotPicklable(
                f"the value in {type(self).__name__}() holds {len(inside)} futures, which it says are not to "
                "be followed; pass their results, or pass the value without the annotation"
            )
        return pickling.loads, (data,)


class opaque(quote[T]):  # noqa: N801  # reads as a word in calls
    """Resolve the value if it is a future, but follow nothing inside it."""

    __slots__ = ()

    def _reduce_argument(self, collected: dict[bytes, int]) -> Reduced:
        return (
            (_durable_names.value, (self.value,))
            if isinstance(self.value, AwaitedRun)
            else super()._reduce_argument(collected)
        )


def _pickle_apart(value: object, inside: dict[bytes, int]) -> tuple[bytes, dict[bytes, int]]:
    """Pickle a value by itself; returns the bytes and the references that are in it."""
    outside = references.begin_collecting(inside)
    try:
        return pickling.dumps(value), inside
    finally:
        references.begin_collecting(outside)


if not TYPE_CHECKING:  # type checkers would stop checking names
    __getattr__ = absent_names(__name__)
