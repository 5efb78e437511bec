"""Nobody but the machine gives a run its state, so that how it came into one is written in one file."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

CONTROLPLANE = Path(__file__).parents[2] / "controlplane" / "taskyard_controlplane"
WITH_RUNS = ("domain", "owner", "storage")
"""Where there are records of runs; elsewhere states are copied into messages."""
MACHINE = CONTROLPLANE / "domain" / "machine.py"


def targets(tree: ast.AST) -> Iterator[ast.expr]:
    """Everything that is assigned to, tuples unpacked."""
    for node in ast.walk(tree):
        match node:
            case ast.Assign():
                found = list(node.targets)
            case ast.AugAssign() | ast.AnnAssign() | ast.NamedExpr() | ast.For() | ast.comprehension():
                found = [node.target]
            case ast.withitem(optional_vars=ast.expr() as name):
                found = [name]
            case _:
                continue
        while found:
            target = found.pop()
            if isinstance(target, ast.Tuple | ast.List):
                found += target.elts
            elif isinstance(target, ast.Starred):
                found.append(target.value)
            else:
                yield target


def assigned_states(source: str) -> list[int]:
    """Return the lines on which something other than an object itself assigns its `state`."""
    found = [
        target.lineno
        for target in targets(ast.parse(source))
        if isinstance(target, ast.Attribute) and target.attr == "state"
        if not (isinstance(target.value, ast.Name) and target.value.id == "self")
    ]
    for node in ast.walk(ast.parse(source)):
        match node:
            case ast.Call(func=ast.Name(id="setattr"), args=[_, ast.Constant(value="state"), *_]):
                found.append(node.lineno)
    return found


@pytest.mark.parametrize(
    "source",
    [
        "run.state = 3",
        "run.state, effects = step",
        "a, (run.state, b) = step",
        "run.state |= 1",
        "for run.state in states: pass",
        "setattr(run, 'state', 3)",
        "shard.runs[run_id].state = 3",
        "first, *run.state = step",
    ],
)
def test_every_way_to_assign_a_state_is_seen(source: str):
    assert assigned_states(source) == [1]


def test_reading_a_state_and_keeping_ones_own_is_allowed():
    assert assigned_states("state = run.state\nself.state = 3\nif run.state == 3: pass") == []


def test_only_the_machine_assigns_the_state_of_a_run():
    assert assigned_states(MACHINE.read_text())
    assigning = {
        f"{path.relative_to(CONTROLPLANE)}:{line}"
        for folder in WITH_RUNS
        for path in (CONTROLPLANE / folder).rglob("*.py")
        if path != MACHINE
        for line in assigned_states(path.read_text())
    }
    assert assigning == set()
