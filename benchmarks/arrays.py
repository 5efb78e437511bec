"""What W6 makes, moves and reads, the same for every system; needs NumPy and nothing else."""

from typing import Any

import numpy as np

_PAGE_NUMBERS = 4096 // 8


def make(number: int, size: int) -> Any:
    """Return an array of so many bytes, every number of which is this one."""
    return np.full(size // 8, number, dtype=np.float64)


def read(array: Any, _position: int = 0) -> float:
    """Touch each page of an array; returns the sum of the numbers with which the pages begin."""
    return float(array[::_PAGE_NUMBERS].sum())


def expected(number: int, size: int) -> float:
    """Return what reading such an array gives."""
    return float(number * len(range(0, size // 8, _PAGE_NUMBERS)))
