"""`with_options` replaces how often a task is repeated, and how soon.

Prints:
    5 0.02
    1 5
    passed at attempt 4
"""

from taskyard import flow, task
from taskyard.runtime import task_run


@task(retries=1, retry_delay_seconds=5)
def unsteady():
    if task_run.run_count < 4:
        raise ValueError("Once more, please!")
    return task_run.run_count


patient = unsteady.with_options(retries=5, retry_delay_seconds=0.02)
print(patient.retries, patient.retry_delay_seconds)
print(unsteady.retries, unsteady.retry_delay_seconds)


@flow
def main():
    print("passed at attempt", patient())


main()
