"""A program that makes a task of its own for every call."""

from pathlib import Path

import pytest
from support.programs import Stage

SERVER = """
from taskyard_controlplane.cli import main
from taskyard_controlplane.owner.journal import templates
from taskyard_controlplane.owner.queueing import submission

submission.MAX_TEMPLATES = 520  # a batch has up to 512
templates.AT_HAND_BYTES = 0
raise SystemExit(main(["serve", "--listen", "127.0.0.1:0", "--database", "sqlite:///{database}"]))
"""

PROGRAM = """
from taskyard import flow, task

@task
def same(x):
    return x

@flow
def many():
    tasks = [same.with_options(name=f"same {n}") for n in range(620)]
    results = [each.submit(n) for n, each in enumerate(tasks)]
    print(sum(result.result() for result in results))
    again = [each.submit(1) for each in tasks[:10]]  # named on a stream before this one, or on this
    print(sum(result.result() for result in again))

many()
"""


@pytest.mark.slow
def test_a_stream_has_an_end_and_the_program_does_not_notice(stage: Stage, tmp_path: Path) -> None:
    server = stage.serve_script(SERVER.format(database=tmp_path / "runs.db"))
    stage.work("--slots", "1")
    done = stage.run_script(PROGRAM)
    assert done.stdout == "191890\n10\n", done.stderr
    assert "Traceback" not in server.log
