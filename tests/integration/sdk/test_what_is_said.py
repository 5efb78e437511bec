"""How runs end is said once: in the terminal of their program, and in the log of their flow run."""

import re
import threading
import time
from collections import Counter
from typing import Any

import pytest
from support.plane_and_agent import Plane

from taskyard import flow, get_run_logger, task
from taskyard.exceptions import NotSerializable, UpstreamTaskError
from taskyard.flow_runs import flow_run_logs
from taskyard.runtime import flow_run, task_run
from taskyard.task_runners import AgentTaskRunner, ThreadPoolTaskRunner

RUNNERS = pytest.mark.parametrize(
    "runner", [AgentTaskRunner(), ThreadPoolTaskRunner()], ids=["agents", "threads"]
)
pytestmark = pytest.mark.usefixtures("plane")


class Box:
    def __init__(self, inner: object) -> None:
        self.inner = inner


@task(retries=2, retry_delay_seconds=0.01)
def flaky() -> None:
    if task_run.run_count < 3:
        raise ConnectionError("line is busy")


def nap() -> None:
    for _ in range(6_000):  # in a thread nothing can end a run between two steps of Python
        time.sleep(0.01)


@task(timeout_seconds=0.2)
def slow() -> None:
    nap()


@task
def bad() -> None:
    raise ValueError("boom")


@task
def after(x: object) -> object:
    return x


@task
def unpicklable() -> object:
    return {"lock": Box(threading.Lock())}


@task(result_encoding="json")
def no_json() -> object:
    return {1, 2}


@task
def napping() -> None:
    nap()


@task
def outer() -> None:
    bad()


SLOW = (
    "Finished in state TimedOut('the attempt exceeded its timeout of 0.2 seconds and was ended', type=FAILED)"
)
UPSTREAM = "Upstream task run 'bad-0' did not reach a 'COMPLETED' state: it failed: ValueError: boom"
BAD = "Finished in state Failed('Task run encountered an exception ValueError: boom')"


def shown_by(capsys: pytest.CaptureFixture[str]) -> Counter[tuple[str, str]]:
    """Return the lines about runs on standard error: who, and what."""
    found = re.findall(r"\| (?:Task|Flow) run '([^']*)' - (.*)", capsys.readouterr().err)
    # That a run waits for the server to come back is said where that takes long.
    return Counter((name, text) for name, text in found if not text.startswith(("Beginning", "waits")))


def recorded(run_id: Any) -> Counter[tuple[str, str]]:
    """Return the same of the log of a flow run."""
    logs = flow_run_logs(run_id, follow=True)
    return Counter((log.run_name, log.message) for log in logs if not log.message.startswith("Beginning"))


@RUNNERS
def test_each_bad_end_is_said_once_in_the_terminal_and_in_the_log(
    runner: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    ids = []

    @flow(task_runner=runner, flow_run_name="main")
    def main() -> None:
        ids.append(flow_run.id)
        flaky()
        slow(return_state=True)
        after.submit(bad.submit()).wait()
        no_json(return_state=True)
        long = napping.submit()
        long.cancel()
        long.wait()

    main()
    said = shown_by(capsys)
    assert said == recorded(ids[0])
    assert set(said.values()) == {1}
    texts = {text: name for name, text in said}
    for number in (1, 2):
        line = f"Attempt {number} of 3 failed (ConnectionError: line is busy); next in 0.01 s"
        assert texts.pop(line) == "flaky-0"
    assert texts.pop(SLOW) == "slow-0"
    assert texts.pop(BAD) == "bad-0"
    assert texts.pop(f'Finished in state NotReady("{UPSTREAM}", type=PENDING)') == "after-0"
    assert texts.pop("Finished in state Completed()") == "main"
    left = sorted((name, text.partition("(")[0]) for text, name in texts.items())
    assert left == [("napping-0", "Finished in state Cancelled"), ("no_json-0", "Finished in state Failed")]


def test_a_value_that_cannot_be_pickled_is_said_with_its_path(capsys: pytest.CaptureFixture[str]) -> None:
    @flow
    def main() -> Any:
        return unpicklable(return_state=True).message

    assert "cannot be pickled: result['lock'].inner is of type lock" in main()
    [text] = [text for name, text in shown_by(capsys) if name == "unpicklable-0"]
    assert "result['lock'].inner" in text


@RUNNERS
def test_a_flow_that_is_retried_says_why(runner: Any, capsys: pytest.CaptureFixture[str]) -> None:
    ids = []

    @flow(retries=1, retry_delay_seconds=0.05, task_runner=runner, flow_run_name="again")
    def main() -> None:
        ids.append(flow_run.id)
        if flow_run.run_count == 1:
            raise RuntimeError("why")

    main()
    retry = ("again", "Attempt 1 of 2 failed (RuntimeError: why); next in 0.05 s")
    retrying = ("again", "Retrying flow run 'again' for flow 'main'")
    expected = Counter([retry, retrying, ("again", "Finished in state Completed()")])
    assert shown_by(capsys) == expected
    assert recorded(ids[0]) == expected


@RUNNERS
def test_b7_a_direct_call_whose_upstream_failed_raises(runner: Any) -> None:
    @flow(task_runner=runner)
    def main() -> str:
        failed = bad.submit()
        for call in (after, lambda future: after.submit(future).result()):
            with pytest.raises(
                UpstreamTaskError, match="'bad-0' did not reach a 'COMPLETED' state: it failed"
            ):
                call(failed)
        return after(failed, return_state=True).name

    assert main() == "NotReady"


@RUNNERS
def test_b7_an_awaited_call_whose_upstream_failed_raises(runner: Any) -> None:
    import asyncio

    @task
    async def later(x: object) -> object:
        return x

    @flow(task_runner=runner)
    async def main() -> str:
        failed = bad.submit()
        with pytest.raises(UpstreamTaskError, match="ValueError: boom"):
            await later(failed)
        state: Any = await later(failed, return_state=True)
        return str(state.name)

    assert asyncio.run(main()) == "NotReady"


def test_what_a_task_calls_is_said_in_the_terminal_of_the_program(capsys: pytest.CaptureFixture[str]) -> None:
    @flow
    def main() -> None:
        outer(return_state=True)

    for _ in range(4):  # workers have done it before
        main()
    said = shown_by(capsys)
    assert [said[name, BAD] for name in ("bad-0", "outer-0")] == [4, 4]


def test_what_a_flow_says_that_a_task_calls_is_shown_by_the_program(
    capsys: pytest.CaptureFixture[str],
) -> None:
    @flow(flow_run_name="inside", log_prints=True)
    def inside() -> None:
        get_run_logger().warning("logged")
        print("printed")

    @task
    def calls() -> None:
        inside()

    @flow
    def main() -> None:
        calls()

    main()
    shown = capsys.readouterr().err
    for text in ("Beginning flow run 'inside'", "logged", "printed", "Finished in state Completed()"):
        assert shown.count(f"Flow run 'inside' - {text}") == 1


@RUNNERS
def test_whatever_a_task_logs_last_is_recorded(runner: Any) -> None:
    @task
    async def speaks(number: int) -> None:
        get_run_logger().info("<%d>", number)

    @flow(task_runner=runner)
    def main() -> Any:
        for number in range(50):
            speaks.submit(number).wait()
        speaks.map(range(50, 100)).wait()
        return flow_run.id

    said = recorded(main())
    assert {said[f"speaks-{number}", f"<{number}>"] for number in range(100)} == {1}


@RUNNERS
def test_b6_hooks_hear_of_a_result_that_has_no_form(runner: Any) -> None:
    @task(result_encoding="json")
    def refused() -> object:
        return {1, 2}

    @refused.on_failure
    def failed(task: Any, run: Any, state: Any) -> None:
        raise RuntimeError(f"{state.name}, and the hook heard of {type(state.data).__name__}")

    @flow(task_runner=runner)
    def main() -> Any:
        with pytest.raises(NotSerializable):
            refused()
        return flow_run.id

    # Where it is called is another process, perhaps: what it raises is in the log.
    assert "Failed, and the hook heard of NotSerializable" in str(recorded(main()))


def test_a_client_that_comes_back_says_each_end_once(
    plane: Plane, capsys: pytest.CaptureFixture[str]
) -> None:
    @task
    def falls(number: int) -> None:
        time.sleep(0.02)
        raise ValueError(str(number))

    @flow(flow_run_name="restarted")
    def main() -> Any:
        futures = falls.map(range(40))
        futures[3].wait()
        plane.server.kill()
        plane.server = plane.start_server()
        for future in futures:
            future.wait()
        return flow_run.id

    run_id = main()
    expected = {
        (
            f"falls-{number}",
            f"Finished in state Failed('Task run encountered an exception ValueError: {number}')",
        ): 1
        for number in range(40)
    }
    said, kept = shown_by(capsys), recorded(run_id)
    assert {line: count for line, count in said.items() if line[0].startswith("falls")} == expected
    assert {line: count for line, count in kept.items() if line[0].startswith("falls")} == expected
