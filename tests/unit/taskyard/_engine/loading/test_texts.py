"""What the text of a flow says, where its file cannot be executed."""

import asyncio
import textwrap
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from support.loopback import LoopbackSession

from taskyard.exceptions import MissingFlowError, ParameterTypeError, ScriptError
from taskyard.flows import (
    is_entrypoint_async,
    load_flow_arguments_from_entrypoint,
    load_flow_from_entrypoint,
    load_placeholder_flow,
    safe_load_flow_from_entrypoint,
)

TEXT = """
import os
from datetime import timedelta
import package_that_nobody_has
from package_that_nobody_has import Frame, DELAY
from taskyard import flow
import taskyard

VERSION = "1." + str(2)
FRAME = Frame()

@flow(
    name=f"etl {VERSION}", version=VERSION, retries=1 + 1, retry_delay_seconds=DELAY, log_prints=True,
    timeout_seconds=timedelta(minutes=1).total_seconds(), on_failure=[package_that_nobody_has.hook],
)
def main(n: int, frame: Frame = FRAME, *, day: str = "today", by: Frame, **rest: int) -> Frame:
    '''What it does.'''
    return frame

class Pipeline:
    @classmethod
    @taskyard.flow(description="a method")
    async def run(cls, n: int = 1): ...

if os.name:
    @flow
    def bare(): ...
"""


@pytest.fixture
def at(tmp_path: Path) -> Callable[[str], str]:
    """Return the entrypoint of a name in a file that cannot be executed."""
    path = tmp_path / "etl.py"
    path.write_text(textwrap.dedent(TEXT))
    return lambda name: f"{path}:{name}"


def test_row_60_options_are_read_as_far_as_they_can_be(at: Callable[[str], str]) -> None:
    assert load_flow_arguments_from_entrypoint(at("main")) == {
        "name": "etl 1.2", "version": "1.2", "retries": 2, "log_prints": True, "timeout_seconds": 60.0,
    }  # fmt: skip
    assert load_flow_arguments_from_entrypoint(at("main"), ["version", "on_failure"]) == {"version": "1.2"}
    assert load_flow_arguments_from_entrypoint(at("Pipeline.run")) == {
        "name": "run",
        "description": "a method",
    }
    assert load_flow_arguments_from_entrypoint(at("bare")) == {"name": "bare"}


def test_row_60_a_flow_whose_file_cannot_be_executed_has_its_options_and_parameters(
    at: Callable[[str], str],
) -> None:
    loaded = load_flow_from_entrypoint(at("main"))
    assert (loaded.name, loaded.version, loaded.retries) == ("etl 1.2", "1.2", 2)
    assert loaded.description == "What it does."
    assert str(loaded.signature.signature) == "(n: int, frame=None, *, day: str = 'today', by, **rest: int)"
    assert loaded.parameters.required == ["n", "by"]
    with pytest.raises(ParameterTypeError, match="n: "):
        loaded.validate_parameters({"n": "one", "by": 1})
    with pytest.raises(ScriptError, match="package_that_nobody_has"):
        load_flow_from_entrypoint(at("main"), use_placeholder_flow=False)


def test_a_placeholder_fails_with_what_went_wrong(session: LoopbackSession, at: Callable[[str], str]) -> None:
    loaded = load_flow_from_entrypoint(at("bare"))
    state = loaded(return_state=True)
    assert state.is_failed()
    with pytest.raises(ScriptError, match="No module named 'package_that_nobody_has'"):
        loaded()
    with pytest.raises(KeyError, match="k"):
        asyncio.run(load_placeholder_flow(at("Pipeline.run"), KeyError("k"))(1))


def test_a_name_that_the_text_lacks_is_told(at: Callable[[str], str]) -> None:
    for name in ("no", "Pipeline", "Pipeline.no", "main.inner"):
        with pytest.raises(MissingFlowError, match=f"Flow function with name '{name}' not found in "):
            load_flow_arguments_from_entrypoint(at(name))
    with pytest.raises(ScriptError, match="package_that_nobody_has"):
        load_flow_from_entrypoint(at("no"))


def test_whether_a_flow_is_async_is_read(at: Callable[[str], str]) -> None:
    assert (is_entrypoint_async(at("main")), is_entrypoint_async(at("Pipeline.run"))) == (False, True)


@pytest.mark.parametrize("line", ["import says_no", "args = parser.parse_args(['--no'])", "sys.exit('no')"])
def test_a_file_that_ends_the_program_ends_only_its_loading(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, line: str
) -> None:
    (tmp_path / "says_no.py").write_text("raise SystemExit('no')")
    begin = f"import argparse, sys\nfrom taskyard import flow\nparser = argparse.ArgumentParser()\n{line}\n"
    (tmp_path / "tool.py").write_text(
        begin + "@flow(name=sys.exit(), retries=2)\ndef main(n: int = sys.exit()): ...\n"
    )
    entrypoint = f"{tmp_path}/tool.py:main"
    assert load_flow_arguments_from_entrypoint(entrypoint) == {"name": "main", "retries": 2}
    loaded = load_flow_from_entrypoint(entrypoint)
    assert (loaded.name, loaded.retries, str(loaded.signature.signature)) == ("main", 2, "(n: int = None)")
    with pytest.raises(ScriptError, match="SystemExit"):
        load_flow_from_entrypoint(entrypoint, use_placeholder_flow=False)


def test_flows_can_be_looked_for_without_an_error(at: Callable[[str], str], tmp_path: Path) -> None:
    found: Any = safe_load_flow_from_entrypoint(at("main"))
    assert found.name == "etl 1.2"
    assert safe_load_flow_from_entrypoint(at("no")) is None
    assert safe_load_flow_from_entrypoint("no_such_package.module.flow") is None
    (tmp_path / "broken.py").write_text("def main(:")
    assert safe_load_flow_from_entrypoint(f"{tmp_path}/broken.py:main") is None
