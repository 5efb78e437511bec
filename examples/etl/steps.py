"""The tasks: fetch a page, sort out its rows, write them."""

import json
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any

from pydantic import ValidationError

import warehouse
from models import Order, Page, Rejected
from taskyard import State, Task, exponential_backoff, task
from taskyard.client.schemas import TaskRun

Rows = list[dict[str, Any]]


def is_passing(task: Task[..., Any], run: TaskRun, state: State[Any]) -> bool:
    """Say whether a request may succeed if it is repeated."""
    error = state.data
    if isinstance(error, urllib.error.HTTPError):
        return error.code in (429, 500, 502, 503, 504)
    return isinstance(error, OSError)


def get(url: str) -> Any:
    """Return the document at a URL."""
    with urllib.request.urlopen(url, timeout=10) as answer:
        return json.load(answer)


@task(retries=5, retry_delay_seconds=exponential_backoff(0.1), retry_condition_fn=is_passing)
def count_pages(url: str) -> int:
    """Return how many pages a service has."""
    return int(get(f"{url}/orders")["pages"])


@task(
    retries=5,
    retry_delay_seconds=exponential_backoff(0.1),
    retry_jitter_factor=0.5,
    retry_condition_fn=is_passing,
    task_run_name="fetch page {page}",
)
def fetch(url: str, page: int) -> Rows:
    """Return the rows of a page, as the service has them."""
    rows: Rows = get(f"{url}/orders/{page}")
    return rows


@task
def clean(rows: Rows) -> Page:
    """Tell the rows that are orders from the others."""
    page = Page([], [])
    for line, row in enumerate(rows):
        try:
            page.orders.append(Order.model_validate(row))
        except ValidationError as error:
            first = error.errors()[0]
            field = ".".join(str(part) for part in first["loc"])
            page.rejected.append(Rejected(line, f"{field}: {first['msg']}", row))
    return page


@task(retries=2, retry_delay_seconds=0.5)
def load(database: Path, number: int, page: Page) -> None:
    """Write a page; one that was written before is replaced."""
    warehouse.replace_page(database, number, page)
