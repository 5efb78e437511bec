"""Files and functions stay small enough to be read in one go, folders to be taken in at a glance."""

import ast
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PROGRAMS = ("protos/python/taskyard_contract", "controlplane", "agent", "sdk")
AROUND = ("tests", "benchmarks", "examples")
LONGEST_FILE = {**dict.fromkeys(PROGRAMS, 400), **dict.fromkeys(AROUND, 600)}
LONGEST_FUNCTION = 60
FULLEST_FOLDER = 20
# What users import stands side by side at the root of the SDK, one module a door, as the API names them.
DOORS = ROOT / "sdk" / "taskyard"


def sources(names: tuple[str, ...] = PROGRAMS + AROUND) -> Iterator[Path]:
    for name in names:
        yield from (ROOT / name).rglob("*.py")


@pytest.mark.parametrize("folder", LONGEST_FILE)
def test_files(folder: str):
    lengths = {path.relative_to(ROOT): path.read_text().count("\n") for path in sources((folder,))}
    assert lengths
    assert {path: length for path, length in lengths.items() if length > LONGEST_FILE[folder]} == {}


def test_folders():
    modules = Counter(path.parent for path in sources(PROGRAMS) if path.name != "__init__.py")
    assert len(modules) > 10
    full = {folder: count for folder, count in modules.items() if count > FULLEST_FOLDER}
    assert {folder: count for folder, count in full.items() if folder != DOORS} == {}


def test_functions():
    long = {}
    for path in sources():
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                lines = (node.end_lineno or 0) - node.lineno + 1
                if lines > LONGEST_FUNCTION:
                    long[f"{path.relative_to(ROOT)}:{node.lineno} {node.name}"] = lines
    assert long == {}
