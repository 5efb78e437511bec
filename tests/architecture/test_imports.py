"""Which module may import which, and what an import may cost."""

import subprocess
import sys
from pathlib import Path

import grimp
import pytest
from importlinter import cli

ROOT = Path(__file__).parents[2]


def test_the_import_contracts_hold(monkeypatch):
    monkeypatch.chdir(ROOT)
    assert cli.lint_imports(config_filename="pyproject.toml", no_cache=True, no_logo=True) == 0


def test_no_module_imports_itself_through_others():
    """Imports for type checkers count: a circle of types is one that people have to read in one go."""
    packages = ("taskyard", "taskyard_agent", "taskyard_contract", "taskyard_controlplane")
    graph = grimp.build_graph(*packages)
    above = {module: set(graph.find_modules_directly_imported_by(module)) for module in graph.modules}
    while leaves := [module for module, imported in above.items() if not imported & above.keys()]:
        for module in leaves:
            del above[module]
    assert sorted(above) == [], "these stand on each other"


def modules_after(statement: str) -> set[str]:
    """Return the modules that a fresh interpreter has loaded after a statement."""
    program = f"import sys; before = set(sys.modules); {statement}; print(*(set(sys.modules) - before))"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    return set(done.stdout.split())


@pytest.mark.parametrize(
    ("statement", "kept_out"),
    [
        ("import taskyard", "grpc google pydantic asyncio cloudpickle typer rich sqlalchemy"),
        ("import taskyard.cli", "grpc google pydantic asyncio cloudpickle typer rich sqlalchemy"),
        ("from taskyard import flow, task", "grpc pydantic typer rich sqlalchemy pathlib"),
        ("import taskyard.cli.app", "grpc google pydantic sqlalchemy rich"),
        ("import taskyard_contract.states, taskyard_contract.errors, taskyard_contract.ids", "grpc google"),
        ("import taskyard_controlplane.cli", "grpc google sqlalchemy"),
        ("import taskyard_controlplane.reading.runs", "grpc sqlalchemy cloudpickle taskyard"),
        ("import taskyard_controlplane.app", "cloudpickle taskyard taskyard_agent"),
        ("import taskyard_agent.runner.worker", "grpc sqlalchemy taskyard_controlplane"),
    ],
)
def test_an_import_loads_no_more_than_it_needs(statement, kept_out):
    loaded = {name.partition(".")[0] for name in modules_after(statement)}
    assert loaded.isdisjoint(kept_out.split())


def test_runs_are_read_without_their_owner():
    loaded = modules_after("import taskyard_controlplane.reading.runs")
    assert not [name for name in loaded if name.startswith("taskyard_controlplane.owner")]


def test_import_taskyard_is_quick():
    program = "import time; t = time.process_time(); import taskyard; print(time.process_time() - t)"
    command = [sys.executable, "-c", program]
    taken = [float(subprocess.run(command, capture_output=True, check=True).stdout) for _ in range(3)]
    assert min(taken) < 0.1


def test_folders_of_packages_are_no_packages():
    """Otherwise ``import sdk`` would work in a checkout, and nowhere else."""
    folders = ("sdk", "agent", "controlplane", "protos", "protos/python", "tests", "examples")
    assert [name for name in folders if (ROOT / name / "__init__.py").exists()] == []
