"""Where flows are loaded from, and what is said of places that have none."""

import os
import pickle
import sys
import textwrap
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from taskyard.exceptions import FlowScriptError, MissingFlowError, ScriptError, UnspecifiedFlowError
from taskyard.flows import (
    Flow,
    flow,
    is_entrypoint_async,
    load_flow_from_entrypoint,
    load_flow_from_script,
    load_flows_from_script,
    load_function_and_convert_to_flow,
    safe_load_flow_from_entrypoint,
    select_flow,
)

Write = Callable[[str, str], Path]


@pytest.fixture
def write(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Write]:
    """Write a file into the working directory, which is not on the import path."""
    monkeypatch.chdir(tmp_path)
    before = dict(sys.modules)

    def write_file(name: str, text: str) -> Path:
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("from taskyard import flow, task\n" + textwrap.dedent(text))
        return path

    yield write_file
    for name in set(sys.modules) - set(before):
        del sys.modules[name]


@pytest.fixture
def importable(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(tmp_path)


ONE = """
    @flow(name="the one")
    def one(): ...
"""
IN_CLASS = """
    class Outer:
        class Pipeline:
            @flow
            def run(self): ...
"""


@pytest.mark.parametrize("text", ["etl.py:one", "./etl.py:one", "{absolute}:one"])
def test_row_60_a_flow_of_a_file(write: Write, text: str) -> None:
    path = write("etl.py", ONE)
    loaded = load_flow_from_entrypoint(text.format(absolute=path))
    assert (loaded.name, loaded.fn.__code__.co_filename) == ("the one", os.path.realpath(path))


@pytest.mark.parametrize("text", ["steps.etl:one", "steps.etl.one"])
@pytest.mark.usefixtures("importable")
def test_row_60_a_flow_of_a_module(write: Write, text: str) -> None:
    write("steps/etl.py", ONE)
    loaded = load_flow_from_entrypoint(text)
    assert loaded is sys.modules["steps.etl"].one


@pytest.mark.parametrize(
    "text", ["etl.py:Outer.Pipeline.run", "etl:Outer.Pipeline.run", "etl.Outer.Pipeline.run"]
)
@pytest.mark.usefixtures("importable")
def test_row_60_a_flow_of_a_class(write: Write, text: str) -> None:
    write("etl.py", IN_CLASS)
    assert load_flow_from_entrypoint(text).name == "run"


@pytest.mark.parametrize("text", ["", "one", "etl.py:", ":one", "."])
def test_what_is_no_entrypoint_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"is no entrypoint; it has the form 'path.py:flow'"):
        load_flow_from_entrypoint(text)


def test_places_without_the_flow_are_named(write: Write) -> None:
    write("etl.py", ONE + "\n    def plain(): ...\n")
    with pytest.raises(MissingFlowError, match=r"^Flow function with name 'two' not found in 'etl.py'.$"):
        load_flow_from_entrypoint("etl.py:two")
    with pytest.raises(MissingFlowError, match=r"^Function with name 'plain' is not a flow. Make sure that"):
        load_flow_from_entrypoint("etl.py:plain")
    with pytest.raises(FileNotFoundError, match=r"there is no script 'no.py' to load a flow from"):
        load_flow_from_entrypoint("no.py:one")
    for text in ("no_such_package.etl:one", "no_such_package.etl.one"):
        with pytest.raises(ModuleNotFoundError, match="No module named 'no_such_package'"):
            load_flow_from_entrypoint(text)
    with pytest.raises(ScriptError, match=r"its name does not end in .py"):
        load_flow_from_entrypoint(f"{write('etl.txt', ONE)}:one", use_placeholder_flow=False)


def test_b11_what_a_script_raises_is_told_and_nothing_is_left_of_it(write: Write) -> None:
    path = write("bad.py", "import sys\nFOUND = 1\nraise KeyError('k')")
    modules, search = set(sys.modules), list(sys.path)
    with pytest.raises(
        ScriptError, match=r"^Script at 'bad.py' encountered an exception: KeyError"
    ) as caught:
        load_flow_from_script("bad.py")
    assert isinstance(caught.value.user_exc, KeyError)
    assert (caught.value.path, caught.value.__cause__) == ("bad.py", caught.value.user_exc)
    assert (set(sys.modules), sys.path) == (modules, search)
    again = pickle.loads(pickle.dumps(caught.value))
    assert (str(again), again.path, repr(again.user_exc)) == (str(caught.value), "bad.py", "KeyError('k')")
    path.write_text("raise SystemExit(3)")
    with pytest.raises(FlowScriptError, match=r"SystemExit\(3\)"):
        load_flow_from_script("bad.py")
    path.write_text("raise KeyboardInterrupt")
    with pytest.raises(KeyboardInterrupt):
        load_flow_from_script("bad.py")


@pytest.mark.usefixtures("importable")
def test_what_a_module_raises_is_told(write: Write) -> None:
    write("broken_module.py", "import package_that_nobody_has")
    with pytest.raises(ScriptError, match="Script at 'broken_module' encountered an exception: ModuleNotFou"):
        load_flow_from_entrypoint("broken_module:one", use_placeholder_flow=False)


def test_flows_of_a_script_are_those_that_it_defines(write: Write) -> None:
    write("imported_by_it.py", "@flow\ndef imported(): ...")
    write(
        "etl.py", "from imported_by_it import imported\n@flow\ndef b(): ...\n@flow\ndef a(): ...\nagain = b"
    )
    assert [one.name for one in load_flows_from_script("etl.py")] == ["b", "a"]
    assert load_flow_from_script("etl.py", "a").name == "a"
    with pytest.raises(UnspecifiedFlowError, match=r"^Found 2 flows in script 'etl.py': 'a', 'b'. Specify a"):
        load_flow_from_script("etl.py")
    with pytest.raises(
        MissingFlowError, match=r"^Flow 'c' not found in script 'etl.py'. Found the following"
    ):
        load_flow_from_script("etl.py", "c")
    with pytest.raises(MissingFlowError, match=r"^No flows found in script 'imported_too.py'.$"):
        load_flow_from_script(write("imported_too.py", "").name)


def test_a_flow_is_selected_by_its_name_or_because_it_is_the_only_one() -> None:
    a, b = flow(name="a")(lambda: 1), flow(name="b")(lambda: 1)
    assert select_flow([a]) is a
    assert select_flow(iter([a, b]), "b") is b
    with pytest.raises(UnspecifiedFlowError, match=r"^Found 2 flows: 'a', 'b'."):
        select_flow([a, b])
    with pytest.raises(MissingFlowError, match=r"^No flows found.$"):
        select_flow([])


def test_a_script_is_executed_again_only_after_it_was_changed(write: Write) -> None:
    write("counted.py", "import sys\nsys.counted = getattr(sys, 'counted', 0) + 1\n" + textwrap.dedent(ONE))
    first = load_flow_from_entrypoint("counted.py:one")
    assert load_flow_from_entrypoint("./counted.py:one") is first
    assert sys.counted == 1  # type: ignore[attr-defined]
    write("counted.py", textwrap.dedent(ONE))
    assert load_flow_from_entrypoint("counted.py:one") is not first
    del sys.counted  # type: ignore[attr-defined]


def test_an_edit_of_the_same_second_and_length_is_noticed(
    write: Write, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "dont_write_bytecode", False)
    for number in range(3):
        path = write("etl.py", f"from taskyard import flow\n@flow\ndef one(): return {number}\n")
        os.utime(path, (1_000_000_000, 1_000_000_000))
        assert load_flow_from_entrypoint("etl.py:one").fn() == number


@pytest.mark.parametrize("raised", ["RuntimeError('no')", "SystemExit(2)"])
@pytest.mark.parametrize("entrypoint", ["broken.inside.one", "broken.inside:one"])
@pytest.mark.usefixtures("importable")
def test_a_package_that_fails_is_a_failed_script(write: Write, raised: str, entrypoint: str) -> None:
    write("broken/__init__.py", f"raise {raised}")
    write("broken/inside.py", ONE)
    with pytest.raises(ScriptError):
        load_flow_from_entrypoint(entrypoint)
    assert safe_load_flow_from_entrypoint(entrypoint) is None
    with pytest.raises(MissingFlowError):
        is_entrypoint_async(entrypoint)


def test_a_changed_script_that_fails_leaves_the_former_one(write: Write) -> None:
    path = write("etl.py", ONE)
    loaded = load_flow_from_entrypoint("etl.py:one")
    path.write_text("raise ValueError")
    with pytest.raises(ScriptError):
        load_flow_from_entrypoint("etl.py:one", use_placeholder_flow=False)
    assert sys.modules[loaded.fn.__module__].one is loaded


def test_functions_become_flows(write: Write) -> None:
    write("etl.py", ONE + "\n    def plain(x): return x\n")
    made = load_function_and_convert_to_flow("etl.py:plain")
    assert isinstance(made, Flow)
    assert (made.name, made.log_prints) == ("plain", True)
    assert load_function_and_convert_to_flow("etl.py:one").name == "the one"
    with pytest.raises(RuntimeError, match=r"Function with name 'two' not found in 'etl.py'"):
        load_function_and_convert_to_flow("etl.py:two")
