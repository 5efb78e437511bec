"""Whether anything in this process has to do with assets: every call of a task asks, so it is one test."""

from typing import Final


class Use:
    """That."""

    __slots__ = ("begun",)

    def __init__(self) -> None:
        """Begin without."""
        self.begun = False


use: Final = Use()
"""Begins when a task is made that has assets, and never ends."""
