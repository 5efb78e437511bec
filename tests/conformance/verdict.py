"""How a script says what is wrong with the program before it."""

from typing import NoReturn


class Broken(Exception):
    """The program did not keep the contract; the text says in what."""


def demand(holds: object, broken: str) -> None:
    """Go on if something holds; otherwise the program has failed, because of `broken`."""
    if not holds:
        fail(broken)


def same(found: object, wanted: object, what: str) -> None:
    """Go on if two values are equal."""
    demand(found == wanted, f"{what} is {found!r}, and should be {wanted!r}")


def fail(broken: str) -> NoReturn:
    """End the script: the program has failed."""
    raise Broken(broken)
