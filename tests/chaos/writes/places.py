"""Where values are in these tests: beside everybody, away from agents and programs, or in object storage."""

from pathlib import Path
from typing import Final, NamedTuple
from uuid import uuid4

import pytest
from support.failpoints import BLIND, Failing, Failpoint
from support.object_server import ObjectServer
from support.processes import Installation

NEAR, FAR, BESIDE, OBJECTS = "near", "far", "beside", "objects"
"""`FAR` and `OBJECTS`: values pass the control plane. `BESIDE`: they pass the process beside it."""
PLACES: Final = [
    pytest.param(NEAR, marks=pytest.mark.chaos),
    pytest.param(FAR, marks=pytest.mark.chaos),
    pytest.param(OBJECTS, marks=pytest.mark.objects),
]


class Place(NamedTuple):
    """An installation, and what its store has."""

    kind: str
    running: Installation
    files: Path
    failing: Failing

    def fail(self, name: str, *points: Failpoint) -> None:
        """Let a process, by its name in the installation, fail at some points."""
        blind = [BLIND] if self.kind in (FAR, BESIDE) and name != "server" else []
        known = self.running.variables.get(name, {})
        self.running.variables[name] = known | self.failing.variables(*points, *blind)


def make_place(kind: str, running: Installation, folder: Path, objects: ObjectServer | None) -> Place:
    """Prepare an installation whose values are somewhere."""
    files = folder / "taskyard-blobs"
    if objects is not None:
        bucket = f"bucket-{uuid4().hex[:12]}"
        running.variables["server"] = objects.environment() | {"TASKYARD_BLOBS": objects.make_bucket(bucket)}
        running.server_options = ("--no-direct-transfers",)
        files = objects.files / bucket / "yard"
    if kind == FAR:
        running.variables["server"] = {"TASKYARD_DATA_LISTEN": "none"}
    place = Place(kind, running, files, Failing(folder))
    for name in ("agent-first", "values", "losses"):
        place.fail(name)
    return place
