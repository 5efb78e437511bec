"""A home may have any name, and where there is none that is said at once."""

import pytest
from support.programs import Stage
from support.programs import stage as open_stage

LARGE = """
from taskyard import flow, task

@task
def large():
    return bytes(200_000)

@flow
def one():
    return len(large.submit().result())

print("RESULT", one())
"""


@pytest.mark.parametrize("name", ["x%20y", "what?", "no#1", "a b&c=d", "ünï 100%"])
def test_a_yard_lives_in_a_home_of_any_name(name: str):
    with open_stage() as outer:
        home = outer.home / name
        home.mkdir()
        inner = Stage(home)
        try:
            done = inner.run_script(LARGE)
            assert done.stdout == "RESULT 200000\n", done.stderr
            assert (home / "taskyard.db").exists()
            assert list(outer.home.iterdir()) == [home], "and nothing lies beside it"
            assert len(inner.document("run", "ls", "--kind", "task")) == 1
        finally:
            inner.close()


def test_a_user_without_a_home_is_told_what_to_set(stage: Stage):
    stage.environment["TASKYARD_HOME"] = "~nobody-of-this-name/yard"
    done = stage.run_script(LARGE, seconds=15)
    assert done.returncode == 1
    assert "no home directory; set TASKYARD_HOME to a directory" in done.stderr.splitlines()[-1]
