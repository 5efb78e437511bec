"""uvloop where it is installed, asyncio's own loop where it is not."""

import asyncio
import sys

import pytest

from taskyard_contract.programs.event_loops import new_event_loop


async def answer() -> int:
    await asyncio.sleep(0)
    return 42


@pytest.mark.parametrize("installed", [True, False])
def test_programs_run_on_either_loop(monkeypatch: pytest.MonkeyPatch, installed: bool) -> None:
    if installed:
        pytest.importorskip("uvloop")
    else:
        monkeypatch.setitem(sys.modules, "uvloop", None)
    with asyncio.Runner(loop_factory=new_event_loop) as runner:
        assert type(runner.get_loop()).__module__.startswith("uvloop") is installed
        assert runner.run(answer()) == 42
