"""Flows that a program loads from files run on agents that have nothing of these files."""

import os
import tempfile
from pathlib import Path

from support.programs import stage

SCRIPT = """
import os
from dataclasses import dataclass

from beside import tripled
from taskyard import flow, task

@dataclass
class Order:
    number: int

@task
def made(x):
    return Order(tripled(x)), __file__

@task
def is_order(found):
    return type(found[0]) is Order

@flow
def main(x: int):
    found = made(x)
    return found[0].number, is_order(found), os.path.exists(found[1]) and found[1] != __file__
"""
PROGRAM = """
import sys
from taskyard.flows import load_flow_from_entrypoint
print(load_flow_from_entrypoint(sys.argv[1])("7"))
"""


def test_row_60_a_loaded_flow_runs_on_an_agent_that_shares_no_files(tmp_path: Path) -> None:
    (tmp_path / "flows").mkdir()
    (tmp_path / "flows" / "etl.py").write_text(SCRIPT)
    (tmp_path / "flows" / "beside.py").write_text("def tripled(x): return 3 * x\n")
    (tmp_path / "program.py").write_text(PROGRAM)
    with stage() as yard, tempfile.TemporaryDirectory() as home:
        yard.serve()
        yard.work_elsewhere(Path(home), "--slots", "1", "--name", "far")
        done = yard.run_file(tmp_path / "program.py", os.fspath(tmp_path / "flows" / "etl.py:main"))
    assert (done.returncode, done.stdout.strip()) == (0, "(21, True, True)"), done.stderr
