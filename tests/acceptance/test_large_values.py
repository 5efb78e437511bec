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


MANY = """
from taskyard import flow, task

@task
def make(number):
    return number.to_bytes(4, "big") * 100

@task
def total(values):
    if isinstance(values, dict):
        [values] = values.values()
    ends = [int.from_bytes(value[:4], "big") for value in (values[0], values[-1])]
    return len(values), sum(map(len, values)), ends

@task
def after():
    return "after"

@flow(log_prints=False)
def many():
    made = make.map(range(9_000))
    print(total.submit(made).result())
    print(total.submit({"some": made[1:]}).result())
    print(total(made[:8_500]))
    print(after.submit(wait_for=made).result())

many()
"""
RESULTS = ["(9000, 3600000, [0, 8999])", "(8999, 3599600, [1, 8999])", "(8500, 3400000, [0, 8499])", "after"]


def test_a_run_takes_the_results_of_very_many(stage: Stage) -> None:
    done = stage.run_script(MANY)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines() == RESULTS


def test_an_agent_that_does_not_see_the_store_fetches_them(stage: Stage) -> None:
    stage.serve("--blobs", "memory:")
    stage.work()
    done = stage.run_script(MANY)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines() == RESULTS
