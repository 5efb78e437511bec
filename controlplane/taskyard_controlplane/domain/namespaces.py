"""Namespaces: rooms of one installation whose names, runs and queues do not meet. There is one so far.

Every request names one, so that programs which say today where they belong are not misplaced by a server that
has several. Pure.
"""

from typing import Final

from taskyard_contract.errors import NamespaceNotFound

DEFAULT: Final = "default"
"""The namespace of whoever names none."""


def check_namespace(name: str) -> None:
    """Check that there is a namespace.

    Raises:
        NamespaceNotFound: There is none of this name.
    """
    if name and name != DEFAULT:
        raise NamespaceNotFound(
            f"there is no namespace {name[:80]!r}: this server has one, '{DEFAULT}'", field="namespace"
        )
