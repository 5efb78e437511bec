"""Arguments and results of every size reach the other side: inline, by blob, in more than a frame holds."""

from support.programs import Stage

LARGE = """
from taskyard import flow, task

@task
def make(size, fill):
    return bytes([fill]) * size

@task
def total(values):
    return sum(map(len, values)), {value[0] for value in values}

@flow
def sizes():
    print(total.submit(make.map([60_000] * 200, 1)).result())
    print(total.submit(make.map([3_000_000] * 4, 2)).result())
    print(total.submit([bytes(5_000_000), make.submit(10, 3)]).result())

sizes()
"""


def test_values_larger_than_a_frame_arrive(stage: Stage) -> None:
    done = stage.run_script(LARGE)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines() == ["(12000000, {1})", "(12000000, {2})", "(5000010, {0, 3})"]
