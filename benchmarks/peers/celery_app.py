"""The Celery application that driver, worker and W3 client import: broker and results in Redis."""

# mypy: disable-error-code="import-not-found,import-untyped,untyped-decorator"
import os

from celery import Celery

# 127.0.0.1:0 is never listened on: a missing variable fails at once instead of using somebody's Redis.
URL = os.environ.get("BENCH_REDIS", "redis://127.0.0.1:0")

app = Celery("benchmarks", broker=f"{URL}/0", backend=f"{URL}/1")
# Acknowledged after the task, not before: otherwise a killed worker loses runs, and nothing here is durable.
app.conf.update(task_acks_late=True, task_reject_on_worker_lost=True, broker_connection_retry_on_startup=True)


@app.task
def noop(value: int) -> None:
    """Do nothing."""


@app.task
def identity(value: int) -> int:
    return value


@app.task
def total(values: list[int]) -> int:
    return sum(values)
