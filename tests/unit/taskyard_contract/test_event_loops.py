"""uvloop where it is installed, asyncio's own loop where it is not."""

import asyncio
import subprocess
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


CLOSED = """
import os
from taskyard_contract.programs.event_loops import new_event_loop
os.close(1)
os.close(0)
new_event_loop().close()
null = os.stat(os.devnull)
assert [os.path.samestat(os.fstat(number), null) for number in range(3)] == [True, True, False]
assert os.get_inheritable(1)
"""


def test_no_connection_gets_the_number_of_a_standard_stream_that_is_closed() -> None:
    done = subprocess.run(
        [sys.executable, "-c", CLOSED], capture_output=True, text=True, check=False, timeout=60
    )
    assert (done.returncode, done.stderr) == (0, "")
