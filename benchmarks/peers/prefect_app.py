"""The Prefect tasks, and the program of one task worker that serves them."""

# mypy: disable-error-code="import-not-found,import-untyped,untyped-decorator"
import time
from typing import Any

from prefect import task
from prefect.task_worker import serve


@task
def noop(value: int) -> None:
    """Do nothing."""


@task
def identity(value: int) -> int:
    return value


@task
def total(values: list[int]) -> int:
    return sum(values)


def result_of(future: Any) -> Any:
    """Wait for a result, asking again while the server has not yet given the new run a state."""
    while True:
        try:
            return future.result()
        except RuntimeError as error:
            if "has no state" not in str(error):
                raise
            time.sleep(0.01)


if __name__ == "__main__":
    # A module run as a program is named __main__: serve what clients know under this module's own name.
    from benchmarks.peers import prefect_app

    print("serving", flush=True)
    serve(prefect_app.noop, prefect_app.identity, prefect_app.total, limit=1)
