"""Tasks that an agent serves by name, called by programs that know nothing but the name."""

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from datetime import date
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
from support.plane_and_agent import Plane, Program
from support.served import Size

from taskyard import State, allow_failure, flow, register_error, remote_task, task
from taskyard.context import get_run_context
from taskyard.exceptions import (
    ConfigurationError,
    FailedRun,
    NotSerializable,
    RemoteError,
    ResultTypeError,
)
from taskyard.task_runners import ThreadPoolTaskRunner
from taskyard_api.v1 import run_service_pb2 as rs
from taskyard_api.v1 import template_pb2
from taskyard_contract.execution import is_servable
from taskyard_contract.id_factory import new_id
from taskyard_contract.states import RunState, StateReason

resize = remote_task("image.resize", queue="named", result=Size)
echo = remote_task("echo", queue="named")
add = remote_task("add", queue="named", result=int)


TESTS = Path(__file__).parents[2]


@pytest.fixture(scope="module", autouse=True)
def agent(shared_plane: Plane, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """An agent that serves the tasks of `support.served`."""
    home = tmp_path_factory.mktemp("named")
    os.environ["TASKYARD_TEST_NOTE"] = str(home / "note")
    command = ["taskyard_agent", "--server", shared_plane.address, "--slots", "2", "--queue", "named"]
    command += ["--name", "named", "--serve", "support.served"]
    program = Program(*command, log=home / "agent.log")
    program.ready()
    yield home
    program.stop()


def test_values_go_there_and_back(plane: Plane) -> None:
    assert resize({"width": 3, "height": 4}, by=2) == Size(6, 8)
    assert resize(Size(3, 4), 2.5) == Size(7, 10)
    value = {"$taskyard.run": "no run", "$$taskyard.x": [1, None, "ä"], "$other": 1.5}
    assert echo(value) == value
    assert remote_task("later", queue="named")("2026-03-01", "4", 5) == "date 2026-03-01 (4, 5)"
    assert remote_task("later", queue="named")(date(2026, 3, 1)) == "date 2026-03-01 ()"


def test_futures_at_any_depth_maps_and_flows(plane: Plane) -> None:
    @flow
    def main() -> Any:
        sizes = resize.map([Size(1, 1), Size(2, 2)], by=3)
        nested = echo.submit(
            {"sizes": sizes, "deep": [{"one": add.submit(1)}], "state": add.submit(4).wait()}
        )
        return nested.result(), add(add.submit(2), b=add.submit(b=5, a=5))

    nested, total = main()
    assert nested["sizes"] == [{"width": 3, "height": 3}, {"width": 6, "height": 6}]
    assert (nested["deep"], nested["state"], total) == ([{"one": 2}], 5, 13)


def test_a_program_that_runs_tasks_in_threads_calls_others_by_name(plane: Plane) -> None:
    @task
    def here(value: int) -> int:
        return value + add(value)

    @flow(task_runner=ThreadPoolTaskRunner(max_workers=2))
    def main() -> int:
        return here(1) + add.submit(10).result()

    assert main() == 1 + 2 + 11


def test_a_remote_task_travels_in_the_code_of_another_task(plane: Plane) -> None:
    @task
    def outer(value: int) -> tuple[int, Any]:
        return add(value), resize({"width": value, "height": 1})

    assert outer(1) == (2, Size(1, 1))


def test_the_task_is_executed_as_a_task(plane: Plane, agent: Path, tmp_path: Path) -> None:
    told = remote_task("about", queue="named")()
    assert told["task"] == "about"
    assert told["pid"] != os.getpid()
    assert remote_task("add_inside", queue="named")(1) == 11

    @flow
    def main() -> str:
        future = echo.submit(5)
        assert future.result() == 5
        return str(plane_run(future.run_id).name)

    assert main() == "named 5"
    state = remote_task("by_hand", queue="named")(return_state=True)
    assert (state.message, state.result()) == ("by hand", {"n": 1})
    flaky = remote_task("flaky", queue="named", retries=2, retry_delay_seconds=0.01)
    assert flaky(str(tmp_path / "n")) == 3


def plane_run(run_id: bytes) -> Any:
    from taskyard._engine.submission.scope import outside_scope

    return outside_scope().record(run_id)


def test_failures_arrive_in_words_or_as_what_was_registered(plane: Plane, agent: Path) -> None:
    state: State[Any] = resize(Size(600, 1), by=2, return_state=True)
    error = state.result(raise_on_failure=False)
    assert isinstance(error, FailedRun)
    assert isinstance(error, RemoteError)
    assert (error.type, error.message) == ("support.served.ImageTooLarge", "600 x 2")
    assert (error.source, "in resize" in error.traceback) == ("python", True)
    note, deadline = agent / "note", time.monotonic() + 20
    while not (note.exists() and note.read_text() == "image.resize Failed"):
        assert time.monotonic() < deadline, "hooks of the task are called"
        time.sleep(0.01)

    class Larger(ValueError):
        """Of this program."""

    register_error("support.served.ImageTooLarge", Larger)
    with pytest.raises(Larger, match="600 x 2"):
        resize(Size(600, 1), by=2)


def test_arguments_that_do_not_fit_are_refused_without_a_retry(plane: Plane) -> None:
    picky = remote_task("image.resize", queue="named", retries=3)
    with pytest.raises(RemoteError, match=r"size.*width") as caught:
        picky({"width": "wide", "height": 1})
    assert caught.value.type.endswith("ParameterTypeError")
    with pytest.raises(RemoteError, match="missing a required argument: 'size'"):
        picky()
    future = picky.delay({})
    future.wait()
    assert plane_run(future.run_id).attempt == 1


def test_a_result_that_json_cannot_hold_is_refused_with_its_place(plane: Plane) -> None:
    future = remote_task("unwritable", queue="named", retries=3).delay()
    state = future.wait()
    assert state is not None
    assert "result['list'][1]: a set has no form in JSON" in str(state.message)
    run = plane_run(future.run_id)
    assert (run.reason, run.attempt) == (StateReason.RESULT_REFUSED, 1)


def test_a_result_of_another_type_than_declared_is_an_error_of_the_reader(plane: Plane) -> None:
    number = remote_task("echo", queue="named", result=int)
    with pytest.raises(ResultTypeError, match="'echo' does not have the declared type"):
        number("text")


def test_what_cannot_be_asked_is_refused_at_once(plane: Plane) -> None:
    with pytest.raises(NotSerializable, match=r"argument 'x'\['a'\]\[1\]: a set has no form in JSON"):
        echo(x={"a": [1, {2}]})
    with pytest.raises(ConfigurationError, match="cannot have the option 'on_failure'"):
        remote_task("echo", on_failure=[print])  # type: ignore[call-overload]
    with pytest.raises(RuntimeError, match="outside of a flow"):
        echo.submit(1)


def test_values_too_large_for_a_frame_travel_too(plane: Plane) -> None:
    text = "x" * 200_000
    assert echo(text) == text

    @flow
    def main() -> Any:
        return echo.submit([echo.submit(text)]).result()

    assert main() == [text]


def test_an_upstream_run_that_failed_is_told_in_words(plane: Plane) -> None:
    @flow
    def main() -> Any:
        bad = remote_task("image.resize", queue="named").submit({"width": 9000, "height": 1})
        return remote_task("kind_of", queue="named").submit(allow_failure([bad])).result()

    assert main() == ["RemoteError"]


def submit(plane: Plane, template: template_pb2.RunTemplate, args: object) -> Any:
    from taskyard._network.server.calls import Client

    run = rs.NewRun(run_id=new_id(), template=template)
    run.args.encoding, run.args.data = "json/plain", json.dumps(args).encode()
    client = Client(plane.address)
    try:
        assert not client.submit_runs(rs.SubmitRunsRequest(runs=[run])).refused
        deadline = time.monotonic() + 30
        while (found := client.get_run(run.run_id, True)).state < RunState.COMPLETED:
            assert time.monotonic() < deadline
            time.sleep(0.01)
        return found
    finally:
        client.close()


@pytest.mark.parametrize("name", ["Outer.Inner.class_of_task", "Outer.Inner.task_of_class"])
def test_a_reference_to_a_task_executes_it_as_a_task(plane: Plane, name: str) -> None:
    template = template_pb2.RunTemplate(
        kind=1, name="t", task_key="t", queue="default", encoding="json/plain"
    )
    template.code.reference = "support.served:about"
    run = submit(plane, template, {})
    assert json.loads(run.result.data)["task"] == "about"
    template.code.reference = f"support.named_code:{name}"
    assert json.loads(submit(plane, template, {"kwargs": {"a": 3}}).result.data) == ["Inner", 3]


def test_an_envelope_of_another_form_is_refused(plane: Plane) -> None:
    template = template_pb2.RunTemplate(
        kind=1, name="t", task_key="t", queue="default", encoding="json/plain"
    )
    template.code.reference = "support.served:add"
    for wrong in ([1, 2], {"a": 1}, {"args": {"a": 1}}, {"args": [{"$taskyard.run": "x"}]}):
        run = submit(plane, template, wrong)
        assert (run.state, run.reason) == (RunState.FAILED, StateReason.CODE_UNAVAILABLE)
    absent = {"args": [{"$taskyard.run": str(UUID(int=1))}]}
    assert "did not arrive" in submit(plane, template, absent).message


@task(result_encoding="json")
def measured(value: Any) -> Any:
    return value


@task(result_encoding="bytes", retries=2)
def raw(value: Any) -> Any:
    return value


def test_a_task_says_how_its_results_are_written(plane: Plane) -> None:
    future = measured.delay((1, "ä"))
    assert future.result() == [1, "ä"]
    assert full_run(future.run_id).result.data == '[1,"ä"]'.encode()
    assert raw(b"\x80x") == b"\x80x"
    big = b"x" * 200_000
    assert raw(big) == big
    assert measured.with_options(result_encoding="bytes", name="other")(b"1") == b"1"
    assert measured.with_options(result_encoding="pickle")({1}) == {1}

    @flow
    def main() -> Any:
        return [future.result() for future in measured.map([1, 2])], add(measured.submit(3))

    assert main() == ([1, 2], 4), "results in JSON are inputs of runs with arguments in JSON"


def test_a_value_without_a_form_ends_the_run_in_threads_too(plane: Plane) -> None:
    @flow(task_runner=ThreadPoolTaskRunner(max_workers=1))
    def threads(value: Any) -> Any:
        return measured.submit(value).result()

    for called in (measured, threads):
        with pytest.raises(NotSerializable, match=r"result\[0\]: a set has no form in JSON"):
            called([{1}])
    assert threads((1,)) == (1,), "the value stays in this process"
    state = raw("text", return_state=True)
    assert "where only bytes are a result" in str(state.message)


def full_run(run_id: bytes) -> Any:
    from taskyard._engine.submission.scope import outside_scope

    return outside_scope().session.client().get_run(run_id, True)


def test_a_flow_says_how_its_result_is_written(plane: Plane) -> None:
    seen: list[UUID] = []

    @flow(result_encoding="json", retries=2)
    def main(value: Any) -> Any:
        seen.append(UUID(get_run_context().run.id.hex))
        return value

    assert main((1, 2)) == (1, 2), "the caller is in the same process"
    assert full_run(seen[0].bytes).result.data == b"[1,2]"
    with pytest.raises(NotSerializable, match=r"result\['a'\]: a set has no form in JSON"):
        main({"a": {1}})
    run = full_run(seen[-1].bytes)
    assert (len(seen), run.attempt, run.reason) == (2, 1, StateReason.RESULT_REFUSED)


def test_code_by_value_says_which_python_has_compiled_it(plane: Plane) -> None:
    from taskyard._engine.submission.scope import outside_scope
    from taskyard._engine.submission.templates import group_of

    scope = outside_scope()
    own = f"{sys.version_info.major}.{sys.version_info.minor}"
    assert group_of(measured, scope, scope.session).template.message.world.python == f"cpython-{own}"
    assert group_of(add, scope, scope.session).template.message.python_version == ""


@pytest.mark.parametrize(
    ("source", "why"),
    [
        ("raise RuntimeError('broken')", "cannot be imported here: RuntimeError: broken"),
        ("import sys; sys.exit(3)", "cannot be imported here: SystemExit: 3"),
        ("print('hello')", "has no tasks"),
        (
            "from taskyard import task\n@task\ndef one(): ...\ntwo = task(name='one')(lambda: 1)",
            "two tasks have the name 'one': served_wrongly.one and served_wrongly.two",
        ),
        ("from taskyard import remote_task\none = remote_task('one')", "has no tasks"),
    ],
)
def test_a_module_that_cannot_be_served_ends_the_agent_at_once(
    plane: Plane, tmp_path: Path, source: str, why: str
) -> None:
    (tmp_path / "served_wrongly.py").write_text(source)
    command = [sys.executable, "-m", "taskyard_agent", "--server", plane.address, "--serve", "served_wrongly"]
    paths = f"{tmp_path}{os.pathsep}{TESTS}"
    done = subprocess.run(
        [*command, "--name", "wrong"],
        capture_output=True,
        text=True,
        timeout=60,
        env={**os.environ, "PYTHONPATH": paths},
        check=False,
    )
    assert (done.returncode, done.stdout) == (os.EX_UNAVAILABLE, "")
    assert why in done.stderr
    assert "Traceback" not in done.stderr


def test_offers_tell_names_and_schemas() -> None:
    offers = {offer.name: offer for offer in served_offers()}
    offer = offers["image.resize"]
    assert (offer.version, offer.description) == ("7", "Make a size larger, or smaller.")
    assert list(offer.encodings) == ["json/plain", "python/pickle5"]
    schema = json.loads(offer.parameter_schema)
    assert (set(schema["properties"]), schema["required"]) == ({"size", "by"}, ["size"])
    assert schema["properties"]["by"]["type"] == "number"
    assert set(json.loads(offer.result_schema)["properties"]) == {"width", "height"}
    assert "add" in offers


def served_offers() -> Any:
    from support import served

    return [value.offer() for value in vars(served).values() if is_servable(value)]


def test_a_cache_key_known_at_the_call_spares_the_run(plane: Plane, tmp_path: Path) -> None:
    key = f"by name {tmp_path}"
    kept = remote_task("flaky", queue="named", retries=2, cache_key_fn=lambda context, parameters: key)
    note = str(tmp_path / "n")
    assert kept(note) == 3
    assert kept(note) == 3
    assert Path(note).read_text() == "xxx"


def test_the_command_line_starts_an_agent_that_serves(plane: Plane, tmp_path: Path) -> None:
    (tmp_path / "of_this_folder.py").write_text(
        "from taskyard import task\n\n\n@task(name='here.double')\ndef double(value: int) -> int:\n"
        "    return 2 * value\n"
    )
    command = [sys.executable, "-c", "from taskyard.cli import main; main()", "agent", "start"]
    command += ["--server", plane.address, "--queue", "here", "--slots", "1", "--name", "here"]
    command += ["--serve", "of_this_folder"]
    paths = f"{TESTS}{os.pathsep}{tmp_path}"
    environment = {**os.environ, "PYTHONPATH": paths}
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment) as process:
        assert process.stdout is not None
        assert "ready" in process.stdout.readline()
        assert remote_task("here.double", queue="here", result=int)("21") == 42
        process.terminate()
        assert process.wait(20) == 0
