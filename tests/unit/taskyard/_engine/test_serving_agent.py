"""What a program that serves tasks tells the control plane, whatever happens to its runs."""

import asyncio
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import count
from typing import Any

import pytest
from support.programs import eventually

from taskyard import task
from taskyard._engine.task_worker import agent
from taskyard._engine.task_worker.agent import ServingAgent
from taskyard._engine.task_worker.served import Served
from taskyard._network.server.loop_thread import loop_thread
from taskyard_api.v1 import agent_service_pb2 as pb
from taskyard_api.v1 import template_pb2
from taskyard_contract import pickling
from taskyard_contract.errors import UnsupportedProtocol
from taskyard_contract.states import StateReason

NAME = f"{__name__}:held"
gate = threading.Event()
begun = threading.Semaphore(0)


@task(queue="served")
def held(number: int) -> int:
    begun.release()
    while not gate.wait(0.01):
        """Let an interruption in."""
    return number


@task(queue="served")
async def sleeps(number: int) -> int:
    begun.release()
    await asyncio.sleep(60)
    return number


class Stand:
    """An agent without a server."""

    def __init__(self, limit: int | None, *tasks: Any) -> None:
        self.loop = asyncio.new_event_loop()
        self.left = threading.Event()
        self.agent = ServingAgent(Served(tasks or (held,)), limit, self.loop, self.left.set)
        welcome = pb.AgentWelcome(max_inline_bytes=65536, max_payload_bytes=10**9)
        welcome.capabilities.append("served_tasks")
        self.agent.on_welcome(welcome)

    def on_loop(self, call: Callable[[], Any]) -> Any:
        async def called() -> Any:
            return call()

        return loop_thread.run(called())

    def assign(self, number: int, *, name: str = NAME) -> pb.RunKey:
        key = pb.RunKey(run_id=bytes([number]) * 16, epoch=number)
        body = pb.ChunkBody(args=[pickling.dumps(((number,), {}))], ordinals=[0])
        chunk = pb.AssignChunk(first_epoch=number, run_ids=key.run_id, body=body.SerializeToString())
        template = template_pb2.RunTemplate(name="held", served_as=name, encoding=pickling.ENCODING)
        definition = template_pb2.TemplateDefinition(template=template)
        self.on_loop(lambda: self.agent.on_assign(chunk, definition))
        return key

    def told(self) -> pb.AgentFrame | None:
        """Return what goes out next of what may not be lost."""
        return self.on_loop(self.agent._link._take_reports)

    def eventually_told(self) -> pb.AgentFrame:
        frame: pb.AgentFrame = eventually(self.told, "something is told")
        return frame

    def goes_on_until(self, condition: Callable[[], Any]) -> Any:
        """Let the loop of coroutines go on until something holds."""

        def after_a_while() -> Any:
            self.loop.run_until_complete(asyncio.sleep(0.001))
            return condition()

        return eventually(after_a_while, "it goes on")

    def goes_on_until_told(self) -> pb.AgentFrame:
        frame: pb.AgentFrame = self.goes_on_until(self.told)
        return frame

    def window(self) -> int:
        return self.on_loop(lambda: self.agent.demand().window - self.agent.demand().in_hand)


@pytest.fixture
def served() -> Iterator[Stand]:
    """With two places, at a closed gate."""
    gate.clear()
    it = Stand(2)
    yield it
    gate.set()
    it.agent.close()
    it.loop.close()


def wait_begun() -> None:
    assert begun.acquire(timeout=30)


def test_it_asks_for_as_many_runs_as_it_has_places(served: Stand) -> None:
    assert served.window() == 2
    key = served.assign(1)
    assert served.window() == 1
    wait_begun()
    gate.set()
    [report] = served.eventually_told().reports
    assert (report.first_epoch, report.run_ids) == (1, key.run_id)
    [result] = pb.ReportColumns.FromString(report.columns).results
    assert pickling.loads(result) == 1
    assert served.window() == 2


def test_an_older_control_plane_is_an_error(served: Stand) -> None:
    served.agent.on_welcome(pb.AgentWelcome(server_version="0.9.1"))

    async def serving() -> None:
        await served.agent.failed

    with pytest.raises(UnsupportedProtocol, match=r"release 0\.9\.1, gives no runs to programs that serve"):
        served.loop.run_until_complete(serving())


def test_nothing_begins_while_the_lease_is_in_doubt(served: Stand) -> None:
    served.on_loop(lambda: served.agent.on_doubt(True))
    key = served.assign(1)
    assert not begun.acquire(timeout=0.05)
    assert [held.run_id for held in served.on_loop(lambda: list(served.agent.held()))] == [key.run_id]
    served.on_loop(lambda: served.agent.on_doubt(False))
    wait_begun()


def test_what_executes_when_the_lease_lapses_is_told_as_lost(served: Stand) -> None:
    key = served.assign(1)
    wait_begun()
    served.on_loop(served.agent.on_lease_lost)
    [lost] = served.eventually_told().lost
    assert (lost.key.run_id, lost.reason) == (key.run_id, StateReason.AGENT_LOST)


def test_what_is_somebody_elses_ends_in_silence(served: Stand) -> None:
    key = served.assign(1)
    wait_begun()
    served.on_loop(lambda: served.agent.on_drop([key]))
    assert served.on_loop(lambda: list(served.agent.held())) == []
    eventually(lambda: served.window() == 2, "it has ended")
    assert served.told() is None


def test_a_cancelled_run_is_confirmed_when_it_has_ended(served: Stand) -> None:
    key = served.assign(1)
    wait_begun()
    served.on_loop(lambda: served.agent.on_cancel([pb.RunKey(run_id=key.run_id, epoch=9)]))
    assert served.told() is None  # that is of another epoch
    served.on_loop(lambda: served.agent.on_cancel([key]))
    [cancelled] = served.eventually_told().cancelled
    assert cancelled == key


def test_a_program_that_leaves_gives_back_what_has_not_begun(served: Stand) -> None:
    running = served.assign(1)
    wait_begun()
    served.on_loop(lambda: served.agent.on_doubt(True))
    waiting = served.assign(2)
    served.on_loop(served.agent.on_drain)
    assert list(served.eventually_told().given_back) == [waiting]
    late = served.assign(3)
    assert list(served.eventually_told().given_back) == [late]
    assert list(served.on_loop(lambda: list(served.agent.held()))) == [running]
    gate.set()
    assert served.eventually_told().reports[0].run_ids == running.run_id


def test_what_it_does_not_serve_fails_and_says_so(served: Stand) -> None:
    served.assign(1, name="other:held")
    [lost] = served.eventually_told().lost
    assert lost.reason == StateReason.CODE_UNAVAILABLE
    assert lost.message == "this program does not serve 'held'"


@pytest.fixture
def in_loop() -> Iterator[Stand]:
    """With two places for coroutines, in a loop that goes on when it is told to."""
    gate.clear()
    it = Stand(2, sleeps)
    yield it
    gate.set()
    it.agent.close()
    it.loop.close()


@pytest.mark.parametrize("turns", [0, 1])
def test_a_coroutine_that_is_cancelled_before_it_begins_is_confirmed(in_loop: Stand, turns: int) -> None:
    key = in_loop.assign(1, name=f"{__name__}:sleeps")
    for _ in range(turns):  # its task is there, and has not begun
        in_loop.loop.call_soon(in_loop.loop.stop)
        in_loop.loop.run_forever()
    in_loop.on_loop(lambda: in_loop.agent.on_cancel([key]))
    frame = in_loop.goes_on_until_told()
    assert list(frame.cancelled) == [key]
    assert in_loop.window() == 2


def test_a_coroutine_that_has_not_begun_when_the_lease_lapses_never_does(in_loop: Stand) -> None:
    key = in_loop.assign(1, name=f"{__name__}:sleeps")
    in_loop.on_loop(in_loop.agent.on_lease_lost)
    [lost] = in_loop.goes_on_until_told().lost
    assert (lost.key, lost.reason) == (key, StateReason.AGENT_LOST)
    assert not begun.acquire(timeout=0)


def test_a_coroutine_begins_while_all_threads_of_its_loop_wait_for_it(in_loop: Stand) -> None:
    in_loop.loop.set_default_executor(ThreadPoolExecutor(1))
    in_loop.loop.run_in_executor(None, gate.wait)
    try:
        in_loop.assign(1, name=f"{__name__}:sleeps")
        in_loop.goes_on_until(lambda: begun.acquire(timeout=0))
    finally:
        gate.set()
        in_loop.on_loop(in_loop.agent._stop_all)
        in_loop.goes_on_until_told()


@pytest.mark.parametrize(
    ("limit", "tasks", "places"),
    [
        (7, [held], 7),
        (None, [held], 1_000),
        (3_000, [held, sleeps], 1_000),
        (None, [sleeps], 5_000),
        (50_000, [sleeps], 5_000),
    ],
)
def test_nothing_is_asked_for_that_could_not_begin(limit: int | None, tasks: list[Any], places: int) -> None:
    it = Stand(limit, *tasks)
    assert it.window() == it.agent._link.identity.slots == places
    it.agent.close()
    it.loop.close()


def test_no_hello_names_more_than_a_control_plane_takes() -> None:
    it = Stand(None, sleeps)
    it.agent._attempts = dict.fromkeys(((bytes([n % 256]), n) for n in range(7_900)), None)  # type: ignore[arg-type]
    it.agent._waiting = 7_800  # for others: these have given their places away
    assert it.window() == 100
    it.agent._attempts.clear()
    it.agent.close()
    it.loop.close()


def test_two_programs_of_one_name_and_number_are_two_agents(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(agent, "_numbers", count(1))
    one = Stand(1)
    monkeypatch.setattr(agent, "_numbers", count(1))  # as in another container on the same machine
    other = Stand(1)
    assert one.agent._link.identity.name == other.agent._link.identity.name
    assert one.agent._link.identity.agent_id != other.agent._link.identity.agent_id
    for it in (one, other):
        it.agent.close()
        it.loop.close()
