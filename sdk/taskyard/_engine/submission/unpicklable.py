"""Which part of which argument cannot be pickled. Asked when pickling has failed, so it may take long."""

from collections.abc import Iterable, Mapping
from typing import Any, Final

from taskyard.exceptions import NotPicklable
from taskyard.utilities.annotations import Annotation
from taskyard_contract import pickling
from taskyard_contract.references import collecting

_DEPTH: Final = 8
"""How far inside the culprit is looked for: what lies deeper is found by its container's path."""


def not_picklable(name: str, args: tuple[Any, ...], kwargs: Mapping[str, Any], why: object) -> NotPicklable:
    """Describe which part of which argument cannot be pickled."""
    labelled = {**{f"argument {position}": value for position, value in enumerate(args)}, **kwargs}
    for label, value in labelled.items():
        path = _culprit(label, value, _DEPTH)
        if path is not None:
            where, culprit = path
            return NotPicklable(
                f"cannot submit '{name}': {where} (a {type(culprit).__qualname__}) cannot be pickled ({why});"
                " pass something that can, or use ThreadPoolTaskRunner, which keeps values in this process"
            )
    return NotPicklable(f"cannot submit '{name}': its arguments cannot be pickled ({why})")


def _culprit(label: str, value: object, depth: int) -> tuple[str, object] | None:
    """Return the path of the innermost part that cannot be pickled, or None."""
    if _can_pickle(value):
        return None
    for part_label, part in _parts(label, value) if depth else ():
        found = _culprit(part_label, part, depth - 1)
        if found is not None:
            return found
    return label, value


def _parts(label: str, value: object) -> Iterable[tuple[str, object]]:
    if isinstance(value, Annotation):
        yield label, value.value
    elif isinstance(value, Mapping):
        yield from ((f"{label}[{key!r}]", item) for key, item in value.items())
    elif isinstance(value, (list, tuple, set, frozenset)):
        yield from ((f"{label}[{position}]", item) for position, item in enumerate(value))
    elif hasattr(value, "__dict__"):
        yield from ((f"{label}.{name}", item) for name, item in vars(value).items())


def _can_pickle(value: object) -> bool:
    with collecting():
        try:
            pickling.dumps(value)
        except Exception:  # foreign code again
            return False
    return True
