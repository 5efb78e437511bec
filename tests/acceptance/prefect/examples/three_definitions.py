"""Options of tasks in Prefect 3 that say how runs are named, repeated, timed, cached and followed.

Prints:
    add(1, 2) took 2 attempts
    completed: sum-1-2
    3
    [2.0, 4.0, 8.0]
    TimedOut
    failed: ValueError('hopeless')
    not retried
"""

import time

from taskyard import flow, task
from taskyard.runtime import task_run
from taskyard.tasks import exponential_backoff


def tell_completed(task, run, state):
    print("completed:", run.name)


@task(
    task_run_name="sum-{x}-{y}",
    version="7",
    retries=3,
    retry_delay_seconds=[0.01, 0.02],
    retry_jitter_factor=0.5,
    persist_result=True,
    log_prints=False,
    refresh_cache=True,
    on_completion=[tell_completed],
)
def add(x, y):
    if task_run.run_count < 2:
        raise OSError("busy")
    print(f"add({x}, {y}) took {task_run.run_count} attempts")
    return x + y


@task(retries=3, retry_delay_seconds=exponential_backoff(2), viz_return_value=1)
def doubled():
    return 1


@task(timeout_seconds=0.2)
def slow():
    for _ in range(600):
        time.sleep(0.05)


@task(retries=3, retry_condition_fn=lambda task, run, state: False)
def hopeless():
    raise ValueError("hopeless")


@hopeless.on_failure
def hopeless_failed(task, run, state):
    print("failed:", repr(state.data))


@flow
def main():
    print(add(1, 2))
    print(doubled.retry_delay_seconds)
    print(slow(return_state=True).name)
    if hopeless(return_state=True).is_failed():
        print("not retried")


main()
