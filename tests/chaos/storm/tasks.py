"""The tasks of a storm. Each says what it does; see `executions`."""

import asyncio
import time
from typing import Any

from chaos.storm.executions import Execution, Value, digest_of, execution, note

from taskyard import Future, get_run_logger, task
from taskyard.states import State
from taskyard_contract.states import RunState

LARGE: int = 90_000
"""Characters, and so more bytes than travel inside other messages."""
LOGGED = "storm"
"""What the lines begin with that tasks log."""


@task
def source(number: int, milliseconds: float) -> Value:
    with execution(milliseconds=milliseconds) as own:
        return own.returns(number)


@task
def double(value: Value, milliseconds: float) -> Value:
    with execution([value], milliseconds) as own:
        return own.returns(2 * value[1])


@task
def total(values: list[Value], milliseconds: float) -> Value:
    with execution(values, milliseconds) as own:
        return own.returns(sum(value[1] for value in values))


@task(retries=2, retry_delay_seconds=0.2)
def flaky(number: int, failures: int) -> Value:
    with execution(milliseconds=2) as own:
        if own.attempt <= failures:
            raise RuntimeError(f"attempt {own.attempt} fails, as it should")
        return own.returns(-number)


@task(cache_key_fn=lambda context, parameters: parameters["key"])
def keyed(key: str, milliseconds: float) -> Value:
    """One of several with the same key, which is known when it is submitted."""
    with execution(milliseconds=milliseconds) as own:
        return own.returns(key)


@task(cache_key_fn=lambda context, parameters: f"{parameters['key']}-{parameters['value'][1]}")
def keyed_by_value(key: str, value: Value) -> Value:
    """The same, but its key is known as late as the result of its upstream run."""
    with execution([value], 5) as own:
        return own.returns(key, value[1])


@task
def large(number: int) -> Value:
    with execution(milliseconds=5) as own:
        return own.returns(number, "x" * LARGE)


@task
def length(value: Value) -> Value:
    with execution([value], 5) as own:
        return own.returns(len(value[2]) + value[1])


@task
def chatty(count: int) -> Value:
    """Logs, and says beforehand what."""
    with execution() as own:
        logger = get_run_logger()
        for number in range(count):
            text = f"{LOGGED} {own.run} {own.epoch:x} {time.time_ns()} {number}"
            own.note("logged", text=text)
            logger.info(text)
            time.sleep(0.003)
        return own.returns(count)


@task
def long(seconds: float) -> Value:
    with execution() as own:
        own.note("long")
        time.sleep(seconds)
        return own.returns(seconds)


@task
def inner(number: int) -> Value:
    with execution(milliseconds=10) as own:
        return own.returns(number * number)


@task
def outer(number: int, width: int) -> Value:
    """Submits runs and waits for them; who is lost meanwhile submits others when it is executed again."""
    with execution(milliseconds=5) as own:
        wanted = [number + each for each in range(width)]
        squares: list[int] = []
        while wanted:  # of those that crashed, too many workers having died, there are others
            ended = [_told(own, each, future) for each, future in [(n, inner.submit(n)) for n in wanted]]
            squares += [value[1] for value in ended if value is not None]
            wanted = [each for each, value in zip(wanted, ended, strict=True) if value is None]
        return own.returns(sum(squares))


def _told(own: Execution, number: int, future: Future[Value]) -> Value | None:
    """Note a run inside a run, and how it ended; returns its value."""
    _note_submitted(own, number, future)
    return _note_told(future, future.wait())


async def _told_awaiting(own: Execution, number: int, future: Future[Value]) -> Value | None:
    """Do the same without keeping the loop."""
    _note_submitted(own, number, future)
    return _note_told(future, await future.await_state())


def _note_submitted(own: Execution, number: int, future: Future[Value]) -> None:
    run = future.task_run_id.hex
    spec = {"returns": expected(run, number * number), "caller": own.run}
    note("submitted", run=run, spec=spec)


def _note_told(future: Future[Value], state: State[Value] | None) -> Value | None:
    assert state is not None
    value: Value | None = state.result() if state.is_completed() else None
    result = digest_of(value) if value else None
    note("told", run=future.task_run_id.hex, state=number_of(state), result=result)
    return value


@task
async def waiting(number: int, milliseconds: float) -> Value:
    """Shares its process with others that wait."""
    with execution() as own:
        await asyncio.sleep(milliseconds / 1000)
        return own.returns(number)


@task
async def gathering(number: int, width: int) -> Value:
    """Submits runs that share a process with others, and awaits them, as `outer` does without a loop."""
    with execution() as own:
        wanted = [number + each for each in range(width)]
        squares: list[int] = []
        while wanted:
            futures = [(each, squaring.submit(each)) for each in wanted]
            ended = await asyncio.gather(*(_told_awaiting(own, each, future) for each, future in futures))
            squares += [value[1] for value in ended if value is not None]
            wanted = [each for each, value in zip(wanted, ended, strict=True) if value is None]
        return own.returns(sum(squares))


@task
async def squaring(number: int) -> Value:
    with execution() as own:
        await asyncio.sleep(0.01)
        return own.returns(number * number)


@task
def outliving(number: int) -> Value:
    """Belongs to no flow; its program may be gone."""
    with execution(milliseconds=10) as own:
        return own.returns(number)


def expected(run: str, *value: Any) -> str:
    """Return the digest of what a run should return."""
    return digest_of([run, *value])


def number_of(state: State[Any]) -> int:
    """Return the number of a final state, as it is recorded."""
    return int(RunState.NOT_READY if state.name == "NotReady" else RunState[state.type.name])
