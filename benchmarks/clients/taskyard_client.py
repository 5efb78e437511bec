"""A fresh Taskyard client: uses TASKYARD_SERVER where it is set, and the local yard where nothing is."""

from benchmarks.clients import READY
from taskyard import flow, task


@task
def identity(value: int) -> int:
    return value


@flow
def first() -> int:
    """Run one task and return what it returned."""
    answer: int = identity(1)
    return answer


if __name__ == "__main__":
    print(READY, first(), flush=True)
