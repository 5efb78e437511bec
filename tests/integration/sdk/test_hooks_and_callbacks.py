"""What users hang on to flows and futures runs where it can do no harm."""

import asyncio
import threading
from typing import Any

import pytest

from taskyard import flow, task
from taskyard.futures import Future

pytestmark = pytest.mark.usefixtures("plane")


@task
def large() -> bytes:
    return b"x" * 200_000


def test_async_hooks_of_async_flows_are_called() -> None:
    called: list[str] = []

    async def hook(flow: Any, run: Any, state: Any) -> None:
        called.append(state.type.value)

    @flow(on_completion=[hook])
    async def main() -> int:
        return 1

    assert asyncio.run(main()) == 1
    assert called == ["COMPLETED"]


def test_a_callback_may_ask_for_a_large_result() -> None:
    sizes: list[int] = []
    called = threading.Event()

    def look(future: Future[bytes]) -> None:
        sizes.append(len(future.result()))
        called.set()

    @flow
    def main() -> bool:
        large.submit().add_done_callback(look)
        return called.wait(10)

    assert main()
    assert sizes == [200_000]
