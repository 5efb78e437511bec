"""What was stored can be read for ever, and what is stored now names no private module."""

import copy
import pickle
import sys
from collections import OrderedDict
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import pytest
from golden import things
from support.pickle_names import names_in, texts_in

import taskyard
from taskyard import cache_policies as policies
from taskyard.flows import Flow
from taskyard.states import State, StateType, is_state
from taskyard.tasks import Task
from taskyard_api.v1 import agent_service_pb2 as pb
from taskyard_api.v1 import template_pb2
from taskyard_contract import pickling
from taskyard_contract.execution import Invocation
from taskyard_contract.references import resolving
from taskyard_contract.states import ReportKind

GOLDEN = Path(things.__file__).parent
RELEASES = sorted(path for path in GOLDEN.iterdir() if (path / "any").is_dir())
MINOR = f"python{sys.version_info.major}.{sys.version_info.minor}"
BY_NAME = sorted(things.by_name())
BY_VALUE = sorted(things.by_value())

DURABLE = {
    "taskyard._durable_names",
    "taskyard.cache_policies",
    "taskyard.context",
    "taskyard.exceptions",
    "taskyard.flows",
    "taskyard.futures",
    "taskyard.logging.loggers",
    "taskyard.states",
    "taskyard.task_runners",
    "taskyard.tasks",
    "taskyard.utilities.annotations",
    "taskyard_contract.durable_names",
    "taskyard_contract.errors",
    "taskyard_contract.references",
    "taskyard_contract.states",
}


class OwnTask(Task[..., Any]):
    pass


class OwnFlow(Flow[..., Any]):
    pass


class OwnState(State[Any]):
    pass


class Host:
    def log(self, *_: object) -> None:
        pass

    def blocked(self) -> Any:
        return nullcontext()


def stored(release: Path, name: str) -> Any:
    """Return what a stored pickle holds; futures among arguments have arrived."""
    by_value = release / MINOR / f"{name}.pickle"
    path = by_value if by_value.exists() else release / "any" / f"{name}.pickle"
    with resolving({things.RUN: "first", things.OTHER: "second"}):
        return pickling.loads(path.read_bytes())


def executed(code: Any, *args: Any, **fields: Any) -> Any:
    """Execute code of a task once; returns the value, or the report."""
    data = pickling.dumps((args, {})) if args else b""
    template = template_pb2.RunTemplate(name="t", encoding=pickling.ENCODING)
    report = code.execute(Invocation(things.RUN, 1, template, data, **fields), Host())
    return pickling.loads(report) if isinstance(report, bytes) else report


@pytest.fixture(params=RELEASES, ids=lambda path: path.name)
def release(request: pytest.FixtureRequest) -> Path:
    path: Path = request.param
    return path


@pytest.fixture
def with_code(release: Path) -> Path:
    """Skip where no code of this minor version was stored."""
    if not (release / MINOR).is_dir():
        pytest.skip(f"{release.name} stored no code of {MINOR}")
    return release


@pytest.mark.parametrize("name", BY_NAME)
def test_what_names_only_is_readable(release: Path, name: str) -> None:
    stored(release, name)


@pytest.mark.parametrize("name", BY_VALUE)
def test_code_is_readable(with_code: Path, name: str) -> None:
    stored(with_code, name)


CALLS: dict[str, tuple[tuple[Any, ...], Any]] = {
    "add": ((1,), 11),
    "again": ((3,), 6),
    "coroutine": ((1,), 2),
    "generator": ((2,), [0, 1]),
    "async_generator": ((2,), [0, 1]),
    "static_method": ((), 4),
    "uses_public_names": ((), ["True"] * 22),
    "calls_others": ((), ["inner", "inner_async", 11, 3]),
    "closure": ((), [1, 2]),
}


@pytest.mark.parametrize("name", CALLS)
def test_stored_code_executes(with_code: Path, name: str) -> None:
    args, expected = CALLS[name]
    assert executed(stored(with_code, f"code-{name}"), *args) == expected


def test_stored_code_of_an_installed_function_executes(release: Path) -> None:
    assert executed(stored(release, "code-installed"), "  x") == "x"


def test_stored_code_keeps_its_options(with_code: Path) -> None:
    of: Task[..., Any] = stored(with_code, "code-with_options").task
    settings = of.settings
    assert (of.name, of.version, of.tags, settings.queue) == ("with options", "7", {"a", "b"}, "slow")
    assert settings.retry_delays == (2.0, 4.0, 8.0)
    assert of.with_options(retries=1).settings.retry_delays == (2.0,)
    assert "return a" in settings.source_code
    assert isinstance(of.cache_policy, policies.CompoundCachePolicy)
    assert [hook.__name__ for hook in of.on_running_hooks] == ["hook"]


def test_stored_code_tells_cache_key_and_name(with_code: Path) -> None:
    report = executed(stored(with_code, "code-with_options"), 5)
    assert isinstance(report, pb.ReportException)
    assert (int(report.kind), report.run_name) == (ReportKind.CACHE_KEY, "options-5")
    assert report.cache_key
    named = executed(stored(with_code, "code-with_key_function"), 5)
    assert (named.run_name, len(named.cache_key)) == ("named", 32)
    assert executed(stored(with_code, "code-with_storage_key"), 6).cache_key == "6"


def test_a_stored_method_is_bound(with_code: Path) -> None:
    of = stored(with_code, "code-method").task
    assert of.fn(*of.prefix, "hello") == "hello ann"


def test_a_stored_flow_keeps_its_options(with_code: Path) -> None:
    of = stored(with_code, "value-flow")
    assert (of.name, of.retries, of.settings.final_state) == ("inner", 2, "all")
    assert of.task_runner.max_workers == 2
    assert of.with_options(retries=3).settings.retry_delays == (1.0, 1.0, 1.0)


@pytest.mark.parametrize("name", things.errors())
def test_stored_exceptions_have_their_types(release: Path, name: str) -> None:
    original, read = things.errors()[name], stored(release, f"error-{name}")
    assert (type(read), read.args, vars(read)) == (type(original), original.args, vars(original))


def test_stored_exceptions_of_the_program_are_whole(with_code: Path) -> None:
    own, awkward = stored(with_code, "error-own"), stored(with_code, "error-awkward")
    assert (type(own).__name__, own.args) == ("OwnError", ("mine",))
    assert (type(awkward).__name__, str(awkward), awkward.code) == ("AwkwardError", "7: odd", 7)


def test_stored_states_are_the_same(release: Path) -> None:
    state = stored(release, "value-state")
    assert (state.type, state.name, state.message) == (StateType.COMPLETED, "Fine", "by hand")
    assert (state.result(), state.timestamp, state.id.bytes) == ({"a": 1}, things.WHEN, things.RUN)
    both = stored(release, "value-state_of_states")
    assert [is_state(one) for one in both.data] == [True, True]
    assert both.state_details.task_run_id.bytes == things.OTHER
    assert not stored(release, "value-state_without_data").has_data


def test_stored_values_are_the_same(release: Path) -> None:
    values = things.values()
    assert stored(release, "value-policies") == values["policies"]
    assert stored(release, "value-annotations") == values["annotations"]
    assert stored(release, "value-function") == values["function"]
    assert repr(stored(release, "value-runners")) == repr(values["runners"])
    for name in ("task_run", "task_run_of_worker", "flow_run", "state_details"):
        assert repr(stored(release, f"value-{name}")) == repr(values[name])


ARGUMENTS: dict[str, Any] = {
    "plain": ((1, "two"), {"three": [3]}),
    "futures": (("first", {"deep": ["second"]}), {"list": ["first"]}),
    "state": (("second",), {}),
    "state_by_hand": ((6,), {}),
    "unmapped": (([1, "first"],), {}),
    "quote": (({"a": 1},), {}),
    "opaque": (([1], "first"), {}),
    "allow_failure": ((["first"],), {}),
}


@pytest.mark.parametrize("name", things.arguments())
def test_stored_arguments_find_their_values(release: Path, name: str) -> None:
    assert stored(release, f"arguments-{name}") == ARGUMENTS[name]


def names_of_ours(data: bytes) -> set[str]:
    return {name.partition(":")[0] for name in names_in(data) if name.startswith("taskyard")}


@pytest.mark.parametrize("name", BY_NAME)
def test_what_is_stored_now_names_no_private_module(name: str) -> None:
    assert names_of_ours(things.by_name()[name]) <= DURABLE


@pytest.mark.parametrize("name", BY_VALUE)
def test_code_that_is_stored_now_names_no_private_module(name: str) -> None:
    data = things.by_value()[name]
    assert names_of_ours(data) <= DURABLE
    private = {text for text in texts_in(data) if text.startswith("taskyard._")}
    assert private <= {"taskyard._durable_names"}


def test_names_are_read_out_of_pickles_inside_pickles() -> None:
    inner = pickle.dumps([things.AwkwardError, things.OwnError], 5)
    assert names_in(pickle.dumps((inner, OrderedDict), 5)) == {
        "golden.things:AwkwardError",
        "golden.things:OwnError",
        "collections:OrderedDict",
    }


def test_everything_that_can_be_imported_from_a_door_is_named_by_it() -> None:
    """What a program's own pickles name is durable as well."""
    private = {
        name: value.__module__
        for name in taskyard.__all__
        if (value := getattr(taskyard, name)) is not None and hasattr(value, "__module__")
        if value.__module__.startswith("taskyard._")
    }
    assert private == {}


def test_task_runs_and_states_survive_a_second_pickling() -> None:
    for name in ("state", "task_run_of_worker", "flow_run"):
        value = things.values()[name]
        assert repr(pickle.loads(pickle.dumps(pickle.loads(pickle.dumps(value))))) == repr(value)


def test_classes_that_users_derive_travel_as_themselves() -> None:
    of = OwnTask(len, name="own", retries=2)
    for back in (pickle.loads(pickle.dumps(of)), copy.deepcopy(of)):
        assert (type(back), back.name, back.retries) == (OwnTask, "own", 2)
    flow = pickle.loads(pickle.dumps(OwnFlow(len, name="own")))
    assert (type(flow), flow.name) == (OwnFlow, "own")
    state = pickle.loads(pickle.dumps(OwnState("COMPLETED", data=1)))
    assert (type(state), state.result()) == (OwnState, 1)
    assert names_of_ours(pickle.dumps(Task(len))) <= DURABLE
