"""`with_options` of Prefect 3: names, retries, and 0 and empty are values.

Prints:
    My new task 1
    5 2
    0 []
"""

from taskyard import flow, task
from taskyard.runtime import task_run


@task(name="My task", tags=["a"])
def one():
    return task_run.task_name, 1


@task(retries=1, retry_delay_seconds=5)
def unsteady():
    raise ValueError("Once more, please!")


@flow
def main():
    print(*one.with_options(name="My new task")())


main()
patient = unsteady.with_options(retries=5, retry_delay_seconds=2)
print(patient.retries, patient.retry_delay_seconds)
print(patient.with_options(retries=0).retries, sorted(one.with_options(tags=[]).tags))
