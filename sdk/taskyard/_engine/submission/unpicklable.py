"""Which part of which argument cannot be pickled. Asked when pickling has failed, so it may take long."""

from collections.abc import Mapping
from typing import Any

from taskyard._data.values.culprits import culprit_in
from taskyard.exceptions import NotPicklable
from taskyard.utilities.annotations import Annotation


def not_picklable(name: str, args: tuple[Any, ...], kwargs: Mapping[str, Any], why: object) -> NotPicklable:
    """Describe which part of which argument cannot be pickled."""
    labelled = {**{f"argument {position}": value for position, value in enumerate(args)}, **kwargs}
    for label, value in labelled.items():
        path = culprit_in(label, value, _annotated)
        if path is not None:
            where, culprit = path
            return NotPicklable(
                f"cannot submit '{name}': {where} (a {type(culprit).__qualname__}) cannot be pickled ({why});"
                " pass something that can, or use ThreadPoolTaskRunner, which keeps values in this process"
            )
    return NotPicklable(f"cannot submit '{name}': its arguments cannot be pickled ({why})")


def _annotated(value: object) -> tuple[object] | None:
    return (value.value,) if isinstance(value, Annotation) else None
