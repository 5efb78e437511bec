"""What can be imported is written down: whoever adds a name, or takes one away, sees that it is a promise."""

import importlib
from pathlib import Path

import pytest
from support.public_names import public_modules, public_names

import taskyard

WRITTEN_DOWN = Path(__file__).with_name("public_names.txt")
MODULES = list(public_modules())


def test_public_names_are_those_that_are_written_down() -> None:
    written = WRITTEN_DOWN.read_text().split()
    found = list(public_names())
    assert found == written, (
        f"new: {sorted(set(found) - set(written))}, gone: {sorted(set(written) - set(found))}; on purpose,"
        " write them down, in tests: python -m support.public_names > unit/taskyard/names/public_names.txt"
    )


@pytest.mark.parametrize("module", MODULES)
def test_each_name_is_there_and_named_once(module: str) -> None:
    found = importlib.import_module(module)
    assert len(set(found.__all__)) == len(found.__all__)
    for name in found.__all__:
        getattr(found, name)
    exec(f"from {module} import *", {})


@pytest.mark.parametrize("module", [name for name in MODULES if name.count(".") == 1])
def test_each_module_is_an_attribute_of_the_package(module: str) -> None:
    assert module.removeprefix("taskyard.") in taskyard._MODULES
    assert getattr(taskyard, module.removeprefix("taskyard.")) is importlib.import_module(module)
