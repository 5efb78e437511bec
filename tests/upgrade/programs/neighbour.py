"""A module beside the programs: it is installed nowhere, so its code travels by value."""


class AwkwardError(Exception):
    """Its constructor takes something else than its arguments say."""

    def __init__(self, code: int, *, detail: str) -> None:
        super().__init__(f"{code}: {detail}")
        self.code = code


def scale(x: int, y: int, by: int) -> tuple[int, int]:
    """Return a point further away."""
    return x * by, y * by
