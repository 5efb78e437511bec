"""How many examples a property has: a third of them in `make test`, all in `make test-slow`."""

import os

WHOLE = "whole"
"""What the variable PROPERTIES says for all of them."""


def examples(most: int) -> int:
    """Return how many of so many examples there are to be this time."""
    return most if os.environ.get("PROPERTIES") == WHOLE else max(5, most // 3)
