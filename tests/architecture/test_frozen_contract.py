"""What was released of the contract stays: `make lint` compares it with the frozen one, and that bites."""

import shutil
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

import pytest

PROTOS = Path(__file__).parents[2] / "protos"
BUF = Path(sys.executable).parent / "buf"


class Change(NamedTuple):
    """What somebody might do to a file of the contract."""

    file: str
    before: str
    after: str


BREAKING = {
    "a field is removed": Change("run_service.proto", "  string name_contains = 4;\n", ""),
    "a field is renamed": Change("run_service.proto", "name_contains = 4", "name_has = 4"),
    "a number is changed": Change("template.proto", "string queue = 5", "string queue = 55"),
    "a type is changed": Change("template.proto", "uint64 timeout_ms = 11", "string timeout_ms = 11"),
    "a value of an enum is removed": Change("states.proto", "  RUN_STATE_NOT_READY = 104;\n", ""),
    "a call is removed": Change(
        "run_service.proto", "  rpc CountRuns(CountRunsRequest) returns (CountRunsResponse);\n", ""
    ),
    "a call streams": Change(
        "run_service.proto", "returns (WaitRunResponse)", "returns (stream WaitRunResponse)"
    ),
}
ALLOWED = {
    "a field is new": Change(
        "template.proto", "  string queue = 5;\n", "  string queue = 5;\n  string new = 99;\n"
    ),
    "a value of an enum is new": Change(
        "states.proto",
        "  RUN_STATE_NOT_READY = 104;\n",
        "  RUN_STATE_NOT_READY = 104;\n  RUN_STATE_NEW = 105;\n",
    ),
    "a field is removed and reserved": Change(
        "run_service.proto", "  string name_contains = 4;\n", '  reserved 4;\n  reserved "name_contains";\n'
    ),
    "a comment is another": Change(
        "template.proto", "// The queue its runs wait in.", "// The queue that its runs wait in."
    ),
}


def compare(folder: Path, change: Change) -> "subprocess.CompletedProcess[str]":
    """Change a copy of the contract, and compare it with the frozen one."""
    changed = folder / "protos"
    shutil.copytree(PROTOS, changed, ignore=shutil.ignore_patterns("python"))
    path = changed / "taskyard_api" / "v1" / change.file
    text = path.read_text()
    assert change.before in text
    path.write_text(text.replace(change.before, change.after, 1))
    command = [BUF, "breaking", changed, "--against", PROTOS / "frozen.txtpb"]
    return subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)


def test_the_contract_breaks_nothing_that_was_released():
    command = [BUF, "breaking", PROTOS, "--against", PROTOS / "frozen.txtpb"]
    compared = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert (compared.returncode, compared.stdout) == (0, "")


@pytest.mark.parametrize("what", BREAKING)
def test_what_breaks_others_is_found(what: str, tmp_path: Path):
    compared = compare(tmp_path, BREAKING[what])
    assert compared.returncode == 100, compared.stderr
    assert BREAKING[what].file in compared.stdout


@pytest.mark.parametrize("what", ALLOWED)
def test_what_breaks_nobody_passes(what: str, tmp_path: Path):
    compared = compare(tmp_path, ALLOWED[what])
    assert (compared.returncode, compared.stdout) == (0, ""), compared.stderr
