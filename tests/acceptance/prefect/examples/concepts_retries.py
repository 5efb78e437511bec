"""A task is repeated after a failure, as the same run.

Prints:
    got page after 3 attempts
    one run: True
"""

from taskyard import flow, task
from taskyard.runtime import task_run


@task(retries=3, retry_delay_seconds=0.05)
def get_page(url):
    if task_run.run_count < 3:
        raise ConnectionError(f"{url} is busy")
    return task_run.run_count, task_run.id


@flow
def main():
    future = get_page.submit("http://localhost")
    attempts, run_id = future.result()
    print(f"got page after {attempts} attempts")
    print("one run:", run_id == str(future.task_run_id))


main()
