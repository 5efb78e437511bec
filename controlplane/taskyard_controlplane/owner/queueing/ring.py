"""Whose turn it is: sessions in a ring, with what is left of the turn of each. Pure; see `turns`."""

from typing import Final

QUANTUM_MS: Final = 20.0
"""A turn: some chunks, so that frames stay full while sessions take turns, and less than people notice."""


class Ring:
    """Sessions in the order of their turns at one kind of room, and what each has left of its turn."""

    __slots__ = ("_last", "left_ms", "places")

    def __init__(self) -> None:
        """Begin with nobody."""
        self.left_ms: dict[int, float] = {}
        """By number of the session, who is next first; less than nothing is a debt."""
        self.places: dict[int, int] = {}
        """Who has the lower number here is before the other one."""
        self._last = 0

    def join(self, key: int) -> None:
        """Let a session come last, with a turn to come, unless it has its place."""
        if key not in self.left_ms:
            self.left_ms[key] = QUANTUM_MS
            self._come_last(key)

    def _come_last(self, key: int) -> None:
        self._last += 1
        self.places[key] = self._last

    def leave(self, key: int) -> None:
        """Forget a session, and what it owes."""
        self.left_ms.pop(key, None)
        self.places.pop(key, None)

    def end_turn(self, key: int) -> None:
        """Let a session come last: its next turn comes when all others have had theirs."""
        self.left_ms[key] = self.left_ms.pop(key) + QUANTUM_MS
        self._come_last(key)

    def pay(self, keys: list[int]) -> None:
        """Let pass as many rounds as the first one of some sessions needs that are all in debt."""
        rounds = min(1 + int(-self.left_ms[key] // QUANTUM_MS) for key in keys)
        for key in keys:
            self.left_ms[key] += rounds * QUANTUM_MS
