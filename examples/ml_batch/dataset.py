"""Rows of two kinds that no straight line separates."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from taskyard import task

COLUMNS = 192
SIGNAL = 4


@dataclass(frozen=True)
class Shard:
    """A part of the data."""

    number: int
    rows: NDArray[np.float64]
    labels: NDArray[np.int8]

    @staticmethod
    def bytes_of(rows: int) -> int:
        """Return the size of the rows of a shard."""
        return rows * COLUMNS * np.dtype(np.float64).itemsize


@task
def make_shard(number: int, rows: int) -> Shard:
    """Make a shard; the same one whenever it is made."""
    source = np.random.default_rng(number)
    values = source.normal(scale=0.05, size=(rows, COLUMNS))
    values[:, :SIGNAL] = source.normal(size=(rows, SIGNAL))
    inside = (values[:, :SIGNAL] ** 2).sum(axis=1) < SIGNAL * 0.84
    return Shard(number, values, np.where(inside, 1, -1).astype(np.int8))
