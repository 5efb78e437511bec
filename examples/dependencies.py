"""Futures as arguments make a graph; retries and failures stay where they belong.

Counts the words with which some of Python's modules describe themselves. `page` is flaky on purpose; one of
the modules does not exist, and the flow goes on without it.
"""

import importlib
import inspect
import re
from collections import Counter

from taskyard import allow_failure, exponential_backoff, flow, get_run_logger, task
from taskyard.runtime import task_run


@task(retries=3, retry_delay_seconds=exponential_backoff(0.1), task_run_name="read {module}")
def page(module: str) -> str:
    """Reads a module's documentation; the first attempt always fails."""
    if task_run.run_count == 1:
        raise ConnectionError("the library is closed for a moment")
    return inspect.getdoc(importlib.import_module(module)) or ""


@task
def words(text: str) -> Counter[str]:
    """Counts the words of a text."""
    return Counter(re.findall(r"[a-z]{4,}", text.lower()))


@task
def common(*counted: Counter[str] | BaseException) -> list[tuple[str, int]]:
    """Adds up what could be counted; what failed arrives as an exception."""
    log = get_run_logger()
    total: Counter[str] = Counter()
    for one in counted:
        if isinstance(one, Counter):
            total += one
        else:
            log.warning("left out: %s", one)
    return total.most_common(5)


@flow
def compare(modules: list[str]) -> list[tuple[str, int]]:
    """Reads, counts and adds up; nothing waits for more than it needs."""
    counted = [words.submit(page.submit(module)) for module in modules]
    return common.submit(*(allow_failure(one) for one in counted)).result()


if __name__ == "__main__":
    for word, times in compare(["json", "argparse", "no_such_module", "threading"]):
        print(f"{times:4} {word}")
