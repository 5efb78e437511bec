"""Names that people read where something is not as it should be, or where they complete a name."""

import pytest
from support.origins import nowhere

from taskyard import flow, task
from taskyard.futures import Future


@task(name="fetch")
async def fetched() -> int:
    return 1


@flow(name="collect")
async def collected() -> int:
    return 1


@pytest.mark.parametrize(("call", "name"), [(fetched, "fetch"), (collected, "collect")])
def test_a_coroutine_that_nobody_awaits_has_the_name_of_what_was_called(call: object, name: str) -> None:
    with pytest.warns(RuntimeWarning, match=f"^coroutine '{name}' was never awaited"):
        call()  # type: ignore[operator]


def test_a_future_lists_what_programs_use() -> None:
    future = Future[int](b"r" * 16, nowhere())
    listed = {name for name in dir(future) if not name.startswith("_")}
    assert listed == {
        *(
            "add_done_callback",
            "aresult",
            "await_state",
            "cancel",
            "completed",
            "done",
            "get_state",
            "result",
        ),
        *("result_async", "state", "task_run_id", "wait", "wait_async"),
    }
    assert future.run_id == b"r" * 16
