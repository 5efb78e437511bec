"""The tasks: read the rules of a site, read a page."""

import urllib.request
from datetime import timedelta
from http import HTTPStatus
from typing import Any
from urllib.error import HTTPError
from urllib.parse import urljoin

from pages import Page, parse
from taskyard import State, Task, exponential_backoff, task
from taskyard.cache_policies import INPUTS
from taskyard.client.schemas import TaskRun


class MissingPage(Exception):
    """There is no page at a URL."""


def is_passing(task: Task[..., Any], run: TaskRun, state: State[Any]) -> bool:
    """Say whether the page may be there if it is asked for again."""
    return not isinstance(state.data, MissingPage)


def get(url: str) -> str:
    """Return the text at a URL."""
    request = urllib.request.Request(url, headers={"User-Agent": "taskyard-example"})
    try:
        with urllib.request.urlopen(request, timeout=10) as answer:
            content: bytes = answer.read()
    except HTTPError as error:
        error.close()
        if error.code in (HTTPStatus.NOT_FOUND, HTTPStatus.GONE):
            raise MissingPage(url) from None
        raise
    return content.decode(errors="replace")


@task(retries=3, retry_delay_seconds=exponential_backoff(0.2), retry_condition_fn=is_passing)
def read_rules(start: str) -> str:
    """Return what a site says about programs that read it; nothing if it does not."""
    try:
        return get(urljoin(start, "/robots.txt"))
    except MissingPage:
        return ""


@task(
    cache_policy=INPUTS,
    cache_expiration=timedelta(hours=1),
    retries=4,
    retry_delay_seconds=exponential_backoff(0.2),
    retry_condition_fn=is_passing,
)
def read_page(url: str) -> Page:
    """Read a page.

    Raises:
        MissingPage: There is none.
    """
    return parse(url, get(url))
