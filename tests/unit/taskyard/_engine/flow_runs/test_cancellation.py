"""A cancellation that is requested ends a flow run as CANCELLED, wherever the flow is when it arrives."""

import asyncio
import threading
import time
from typing import Any

import pytest
from support.loopback import LoopbackSession

from taskyard.context import get_run_context
from taskyard.exceptions import CancelledRun
from taskyard.flows import flow
from taskyard.tasks import task
from taskyard_api.v1 import session_service_pb2 as pb
from taskyard_contract.states import FlowEvent


@task
def one() -> int:
    return 1


def request_cancellation(session: LoopbackSession, run_id: bytes | None = None) -> None:
    """Ask a flow, the current one if nothing else is said, to end."""
    run_id = get_run_context().run.raw_id if run_id is None else run_id
    session.in_flight.on_frame(pb.SessionFrame(cancel_requests=[run_id]))


def let_tasks_run(session: LoopbackSession) -> None:
    """Execute what was submitted and held back."""
    session.script.execute = True
    one()  # its answer carries all results


def ends_as_cancelled(session: LoopbackSession) -> bool:
    return session.script.reports[-1].event == FlowEvent.CANCELLED


def test_while_a_hook_is_called_on_its_start(session: LoopbackSession) -> None:
    ended: list[str] = []

    def stop(_flow: Any, _run: Any, _state: Any) -> None:
        request_cancellation(session)
        time.sleep(30)

    @flow(on_running=[stop], on_cancellation=[lambda _flow, _run, state: ended.append(state.name)])
    def main() -> None:
        ended.append("the body was called")

    with pytest.raises(CancelledRun):
        main()
    assert ended == ["Cancelled"]
    assert ends_as_cancelled(session)


def test_while_it_waits_for_a_run_of_another_flow_that_it_returned(session: LoopbackSession) -> None:
    session.script.execute = False

    @flow
    def outer() -> None:
        future = one.submit()

        @flow
        def inner() -> Any:
            run_id = get_run_context().run.raw_id
            threading.Timer(0.05, lambda: request_cancellation(session, run_id)).start()
            return future

        with pytest.raises(CancelledRun):
            inner()
        assert ends_as_cancelled(session)
        let_tasks_run(session)

    outer()


def test_while_an_async_flow_waits_for_its_runs(session: LoopbackSession) -> None:
    session.script.execute = False

    @flow
    async def main() -> None:
        loop = asyncio.get_running_loop()
        run_id = get_run_context().run.raw_id

        def stop() -> None:
            request_cancellation(session, run_id)
            request_cancellation(session, run_id)
            loop.call_soon(let_tasks_run, session)

        one.submit()
        loop.call_soon(stop)

    async def program() -> int:
        with pytest.raises(CancelledRun):
            await main()
        current = asyncio.current_task()
        assert current is not None
        return current.cancelling()

    assert asyncio.run(program()) == 0
    assert ends_as_cancelled(session)


def test_an_async_flow_does_not_hold_up_its_loop_for_the_run_that_it_returns(
    session: LoopbackSession,
) -> None:
    session.script.execute = False
    order: list[str] = []

    @flow
    async def outer() -> None:
        future = one.submit()

        def go_on(who: str) -> None:
            order.append(who)
            let_tasks_run(session)

        emergency = threading.Timer(2, go_on, ["emergency"])
        emergency.start()

        @flow
        async def inner() -> Any:
            asyncio.get_running_loop().call_soon(go_on, "loop")
            return future

        await inner()
        order.append("flow")
        emergency.cancel()

    asyncio.run(outer())
    assert order == ["loop", "flow"]


def test_an_interrupt_in_a_hook_on_its_start_is_reported(session: LoopbackSession) -> None:
    def stop(_flow: Any, _run: Any, _state: Any) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        flow(on_running=[stop])(lambda: 1)()
    assert session.script.reports[-1].event == FlowEvent.INTERRUPTED
