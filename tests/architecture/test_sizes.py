"""Files and functions stay small enough to be read in one go."""

import ast
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parents[2]
SOURCES = (
    "protos/python/taskyard_contract",
    "controlplane",
    "agent",
    "sdk",
    "tests",
    "benchmarks",
    "examples",
)
LONGEST_FILE = 600
LONGEST_FUNCTION = 60


def sources() -> Iterator[Path]:
    for name in SOURCES:
        yield from (ROOT / name).rglob("*.py")


def test_files():
    lengths = {path.relative_to(ROOT): path.read_text().count("\n") for path in sources()}
    assert len(lengths) > 100
    assert {path: length for path, length in lengths.items() if length > LONGEST_FILE} == {}


def test_functions():
    long = {}
    for path in sources():
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                lines = (node.end_lineno or 0) - node.lineno + 1
                if lines > LONGEST_FUNCTION:
                    long[f"{path.relative_to(ROOT)}:{node.lineno} {node.name}"] = lines
    assert long == {}
