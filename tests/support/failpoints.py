"""Steps at which a process of a test is killed, or a call of it fails: see `failing/sitecustomize.py`.

A step is a call of a function: of the program, or of the system, by the file that it is about. It fails a
number of times in all processes together, so that what is started again comes further.
"""

import json
from pathlib import Path
from typing import Final, NamedTuple

TESTS: Final = Path(__file__).parent.parent
PATH: Final = f"{Path(__file__).parent / 'failing'}:{TESTS}"
"""What processes that are to fail need as their PYTHONPATH."""


class Failpoint(NamedTuple):
    """A step that fails."""

    function: str
    """`module:name`, or `module:Class.name`."""
    when: str
    """`before` or `after` a call; of generators, at an `item`, or at their `end`."""
    about: str = ""
    """Part of a path that one of the arguments has to have, or the file that it stands for."""
    number: int = 1
    """The first of these calls, or items, in a process that fails."""
    action: str = "kill"
    """`kill`; a name of `errno`, to raise that; or `false`, to return that at every call."""
    times: int = 1
    """How often it fails, in all processes together."""


BLIND: Final = Failpoint(
    "taskyard_contract.blobs.directory:BlobDirectory.is_marked", "before", action="false"
)
"""Lets a process not see the control plane's directory, as if it was on another machine."""


class Failing:
    """The failpoints of a test."""

    def __init__(self, folder: Path) -> None:
        """Note in `folder` how often they were met."""
        self._folder = folder

    def variables(self, *points: Failpoint) -> dict[str, str]:
        """Return the environment of a process that has some of them."""
        said = [{**point._asdict(), "mark": str(self._mark(point))} for point in points]
        return {"PYTHONPATH": PATH, "FAILPOINTS": json.dumps(said)}

    def met(self, point: Failpoint) -> int:
        """Return how often a point was met."""
        mark = self._mark(point)
        return len(list(mark.parent.glob(f"{mark.name}.*")))

    def _mark(self, point: Failpoint) -> Path:
        return self._folder / f"met-{abs(hash(point)):x}"
