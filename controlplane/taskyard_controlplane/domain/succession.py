"""What an owner knows of its runs from being their owner, and what only from those before it.

An epoch says who assigned a run and for how often that was done: the generation of the owner in the upper
half, a counter in the lower. So for an owner all epochs are of one of two kinds: its own, of which it knows
everything, and earlier ones. A run that it made itself begins with the lowest of its own, as if it had just
been taken back from somebody: nothing that earlier owners may have assigned is about that run.
"""

from typing import Final

GENERATION_SHIFT: Final = 32
"""Half of an epoch each for who assigned and for how often: neither is ever used up."""


class Succession:
    """The place of an owner after those that were there before it."""

    __slots__ = ("believed_below", "first_epoch", "first_seq")

    def __init__(self, generation: int, first_seq: int) -> None:
        """Begin with no earlier owner to take anything over from.

        Args:
            generation: That of this owner.
            first_seq: The number of the first run that it makes itself.
        """
        self.first_epoch = generation << GENERATION_SHIFT
        """Its own epochs begin here; no run is assigned under this one."""
        self.first_seq = first_seq
        self.believed_below = 0
        """Epochs below are believed, though nothing is recorded of them: all of earlier owners, or none."""

    def take_over(self) -> None:
        """Believe what agents say they were assigned by earlier owners, from now on."""
        self.believed_below = self.first_epoch

    def settle(self) -> None:
        """Believe it no longer: whoever was to come back has done so, or has stopped what it had."""
        self.believed_below = 0

    def epoch_of(self, seq: int) -> int:
        """Return the epoch that a run begins with of which nothing is recorded but that it was submitted."""
        return self.first_epoch if seq >= self.first_seq else 0
