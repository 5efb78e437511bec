"""Calls that this release cannot serve yet: names can be imported, and a call says what to do instead.

Invariant: an import never fails for something that is only missing at the control plane, so that programs run
which merely name it; and no call of it ever does nothing.
"""

from typing import Any, ClassVar, NoReturn

from taskyard._missing_features import with_page
from taskyard.exceptions import NotSupported


def refuse(call: str, why: str) -> NoReturn:
    """Refuse a call.

    Args:
        call: What was called, as programs name it.
        why: What to do instead, one of `taskyard._prefect_names.reasons`.

    Raises:
        NotSupported: Always.
    """
    raise NotSupported(f"{call} cannot be used: {with_page(why)}")


class Refused:
    """A class that can be imported, named in annotations and derived from, and of which none can be made."""

    why_refused: ClassVar[str]
    """What to do instead."""

    def __new__(cls, *args: Any, **kwargs: Any) -> NoReturn:
        """Refuse.

        Raises:
            NotSupported: Always.
        """
        refuse(f"{cls.__module__}.{cls.__qualname__}(...)", cls.why_refused)
