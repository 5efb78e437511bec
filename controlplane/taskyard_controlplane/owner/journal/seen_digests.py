"""Which templates may be in the database, in a megabyte whatever their number: a Bloom filter.

Nearly all templates that are not in memory are new, and a new one should not have to wait for a look into the
database. This says for certain of most of them that they are new; for the others the database is asked.
"""

from typing import Final

BYTES: Final = 1 << 20
"""With a million templates it is wrong about one in 48 new ones, with a hundred thousand one in 200,000."""
_PLACES: Final = 4
_PLACE_BYTES: Final = 4  # of a digest, for each place


class SeenDigests:
    """Digests that were added, and now and then one that was not."""

    def __init__(self) -> None:
        """Have seen none."""
        self._bits = bytearray(BYTES)

    def add(self, digest: bytes) -> None:
        """Note a digest; it is random, so parts of it are as good as hashes of it."""
        for start in range(0, _PLACES * _PLACE_BYTES, _PLACE_BYTES):
            place = int.from_bytes(digest[start : start + _PLACE_BYTES], "little")
            self._bits[(place >> 3) % BYTES] |= 1 << (place & 7)

    def __contains__(self, digest: bytes) -> bool:
        """Whether a digest may have been added; False is certain."""
        for start in range(0, _PLACES * _PLACE_BYTES, _PLACE_BYTES):
            place = int.from_bytes(digest[start : start + _PLACE_BYTES], "little")
            if not self._bits[(place >> 3) % BYTES] & 1 << (place & 7):
                return False
        return True
