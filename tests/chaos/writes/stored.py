"""What a store has, looked at from outside: no value is there that is not whole, none is lost."""

from hashlib import sha256
from pathlib import Path
from typing import NamedTuple

from support.recorded import Recorded

from taskyard_api.v1 import session_service_pb2
from taskyard_contract.blobs.names import checksum_of, content_name, is_result, sha256_name
from taskyard_contract.values.layout import Damaged, parts_of


class Named(NamedTuple):
    """What a database says of a result."""

    size: int
    checksum: int


class Stored:
    """The files of a store, whatever kind it is."""

    def __init__(self, files: Path, *, shared: bool) -> None:
        """Look at the files below a directory.

        Args:
            files: The directory.
            shared: Whether workers write there, whose files have their names before they are whole.
        """
        self._files = files
        self._shared = shared

    def names(self) -> dict[str, Path]:
        """Return where everything is that is no file of the store's own."""
        found = [path for path in self._files.rglob("*") if path.is_file()]
        return {path.name: path for path in found if not path.name.startswith(".")}

    def unfinished(self) -> list[str]:
        """Return what was never finished."""
        return [path.name for path in self._files.rglob(".*.part")]

    def check(self) -> None:
        """Assert that whatever can be read by its name is whole, but for what nobody was told of."""
        for name, path in self.names().items():
            data = path.read_bytes()
            if not is_result(name):
                assert name in (content_name([data]), sha256_name(sha256(data).digest())), f"half of {name}"
            elif not self._shared:
                assert _is_whole(data), f"half a result has its name: {name}"

    def orphans(self, recorded: Recorded) -> list[str]:
        """Return what no run names, after asserting that all that is named is there as it was reported."""
        named = _named(recorded)
        assert named, "no run has a large result"
        names = self.names()
        for name, said in named.items():
            data = names[name].read_bytes()
            assert (len(data), checksum_of([data])) == said, f"{name} is not what was reported"
        return [name for name in names if is_result(name) and name not in named]


def _is_whole(data: bytes) -> bool:
    try:
        parts_of(memoryview(data))
    except Damaged:
        return False
    return True


def _named(recorded: Recorded) -> dict[str, Named]:
    found = {}
    for run in recorded.runs:
        if run.outcome is not None:
            blob = session_service_pb2.RunOutcome.FromString(run.outcome).result.blob
            if blob.name:
                found[blob.name] = Named(blob.size, blob.checksum)
    return found
