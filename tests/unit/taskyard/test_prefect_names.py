"""Names of Prefect 1, 2 and 3 say what to do instead, wherever they are used; what exists is not touched."""

import importlib
import importlib.util
import pickle
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from support.origins import nowhere

import taskyard
from taskyard import Completed, Flow, State, Task, flow, task
from taskyard._data.values.hashing import hash_objects
from taskyard._engine.definitions.flow_options import FlowOptions
from taskyard._engine.definitions.task_options import TaskOptions
from taskyard._prefect_names.attributes import ATTRIBUTES
from taskyard._prefect_names.filters import FIELDS
from taskyard._prefect_names.members import MEMBERS
from taskyard._prefect_names.modules import COLLECTIONS, MODULES, NAMES
from taskyard._prefect_names.options import ABSENT, CALLS, FORMER
from taskyard._prefect_names.page import page
from taskyard.client import SyncTaskyardClient
from taskyard.exceptions import ParameterBindError
from taskyard.futures import Future

DOCS = Path(__file__).parents[3] / "docs"
WHERE = r" \(see docs/coming-from-prefect\.md\)$"


def one(x: int = 1) -> int:
    return x


OBJECTS: dict[str, Any] = {
    "task": task(one),
    "flow": flow(one),
    "state": Completed(data=1),
    "future": Future(b"r" * 16, nowhere()),
    "client": SyncTaskyardClient("127.0.0.1:1"),
}
ALL_ATTRIBUTES = [(kind, name) for kind, names in ATTRIBUTES.items() for name in names]
ALL_MEMBERS = [(module, name) for module, names in MEMBERS.items() for name in names]
OPTIONS = [(kind, name) for kind, names in FORMER.items() for name in names]


def executed(statement: str) -> dict[str, Any]:
    names: dict[str, Any] = {}
    exec(statement, names)
    return names


@pytest.mark.parametrize("name", ["PREFECT_API_URL", "PREFECT_CLOUD_API_URL", "TASKYARD_CLOUD_API_URL"])
def test_a_setting_is_explained_whichever_of_its_prefixes_was_replaced(name: str) -> None:
    with pytest.raises(ImportError, match=f"{name}'.*environment variables.*{WHERE}"):
        executed(f"from taskyard.settings import {name}")


@pytest.mark.parametrize("name", MODULES)
def test_a_module_says_what_to_do_instead(name: str) -> None:
    with pytest.raises(ModuleNotFoundError, match=re.escape(MODULES[name]) + WHERE):
        executed(f"import taskyard.{name}")
    with pytest.raises(ModuleNotFoundError, match=re.escape(MODULES[name]) + WHERE):
        executed(f"from taskyard.{name} import anything")


@pytest.mark.parametrize("name", NAMES)
def test_a_name_of_the_package_says_what_to_do_instead(name: str) -> None:
    with pytest.raises(ImportError, match=re.escape(NAMES[name]) + WHERE):
        executed(f"from taskyard import {name}")
    with pytest.raises(AttributeError, match=f"no attribute '{name}': " + re.escape(NAMES[name]) + WHERE):
        getattr(taskyard, name)


@pytest.mark.parametrize(("module", "name"), ALL_MEMBERS)
def test_a_name_of_a_module_says_what_to_do_instead(module: str, name: str) -> None:
    why = re.escape(MEMBERS[module][name]) + WHERE
    with pytest.raises(ImportError, match=why):
        executed(f"from taskyard.{module} import {name}")
    with pytest.raises(AttributeError, match=why):
        getattr(importlib.import_module(f"taskyard.{module}"), name)


@pytest.mark.parametrize(("kind", "name"), ALL_ATTRIBUTES)
def test_an_attribute_says_what_to_do_instead(kind: str, name: str) -> None:
    with pytest.raises(AttributeError, match=f"^a {kind} has no attribute '{name}': " + ".*" + WHERE):
        getattr(OBJECTS[kind], name)


@pytest.mark.parametrize(("kind", "name"), OPTIONS)
@pytest.mark.parametrize("value", [None, 1])
def test_an_option_of_former_prefects_says_what_to_do_instead(kind: str, name: str, value: object) -> None:
    given: dict[str, Any] = {name: value}
    make: Any = task if kind == "task" else flow
    why = f"^{kind} 'one' cannot have the option '{name}': " + re.escape(FORMER[kind][name]) + WHERE
    with pytest.raises(TypeError, match=why):
        make(**given)(one)
    with pytest.raises(TypeError, match=why):
        OBJECTS[kind].with_options(**given)


def test_no_option_that_exists_is_listed() -> None:
    assert not {*ABSENT, *FORMER["task"]} & set(TaskOptions.__annotations__)
    assert not {*ABSENT, *FORMER["flow"]} & set(FlowOptions.__annotations__)


@pytest.mark.parametrize("name", CALLS)
def test_an_argument_of_former_calls_says_what_to_do_instead(name: str) -> None:
    given: dict[str, Any] = {name: 1}
    with pytest.raises(ParameterBindError, match=re.escape(f"'{name}': {CALLS[name]}") + WHERE):
        task(one).signature.check((), given)


@pytest.mark.parametrize("name", COLLECTIONS)
def test_a_package_beside_prefect_says_what_to_do_instead(name: str) -> None:
    with pytest.raises(ModuleNotFoundError, match=re.escape(COLLECTIONS[name]) + WHERE):
        executed(f"from {name} import anything")


@pytest.mark.parametrize("name", ["taskyard_mine", "taskyards", "taskyard_controlplane.nothing"])
def test_other_packages_are_missing_as_always(name: str) -> None:
    with pytest.raises(ModuleNotFoundError, match=f"^No module named '{name}'$"):
        executed(f"import {name}")


def test_what_a_property_raises_is_not_taken_for_an_absent_attribute() -> None:
    def unreadable() -> Any:
        raise AttributeError("module 'models' has no attribute 'Order'")

    state: Any = State("COMPLETED", decode=unreadable)
    for ask in (lambda: state.data, lambda: state.result()):
        with pytest.raises(AttributeError, match="module 'models' has no attribute 'Order'"):
            ask()


def test_a_graph_of_prefect_1_is_refused_where_it_begins() -> None:
    with pytest.raises(TypeError, match="'fn' must be callable, got str: Prefect 1's graphs .*" + WHERE):
        Flow("example")  # type: ignore[arg-type]  # the mistake under test
    with pytest.raises(TypeError, match="'fn' must be callable, got nothing: Prefect 1's graphs .*" + WHERE):
        Flow(name="example")


def test_a_task_class_of_prefect_1_is_refused_where_it_is_used() -> None:
    class AddTask(Task[..., Any]):
        def __init__(self, *args: Any, y: int = 0, **kwargs: Any) -> None:
            self.y = y
            super().__init__(*args, **kwargs)

        def run(self, x: int) -> int:
            return x + self.y

    for make in (lambda: AddTask(name="Add"), lambda: AddTask("Add")):
        with pytest.raises(
            TypeError, match="^'fn' must be callable, got (nothing|str): .* with @task" + WHERE
        ):
            make()
    with pytest.raises(TypeError, match="^'fn' must be callable, got nothing: .* with @task" + WHERE):
        Task()
    with pytest.raises(TypeError, match=r"^'fn' must be callable, got int$"):
        Task(5)  # type: ignore[arg-type]  # the mistake under test


def test_a_task_class_with_a_function_works_as_before() -> None:
    class Own(Task[..., Any]):
        def run(self) -> str:
            return "own"

    assert (Own(one, name="x").name, Own(one).run()) == ("x", "own")


def test_the_context_of_prefect_1_is_refused_by_key_and_by_attribute() -> None:
    context: Any = taskyard.context
    with pytest.raises(TypeError, match=r"is a module, no dictionary: .*taskyard\.get_run_logger.*" + WHERE):
        context["logger"]
    with pytest.raises(AttributeError, match=r"no attribute 'get': .*taskyard\.get_run_logger.*" + WHERE):
        context.get("logger")


def test_the_context_is_a_module_like_others() -> None:
    context = importlib.import_module("taskyard.context")
    assert isinstance(context, ModuleType)
    assert pickle.loads(pickle.dumps(context)) is context
    assert hash_objects(context) == hash_objects(context) is not None


@pytest.mark.parametrize("name", ["engine", "tasks.core", "runner", "nothing"])
def test_who_only_asks_whether_a_module_is_there_is_told_no(name: str) -> None:
    if name == "tasks.core":
        with pytest.raises(ModuleNotFoundError):  # as always, of a module inside of one that is no package
            importlib.util.find_spec(f"taskyard.{name}")
    else:
        assert importlib.util.find_spec(f"taskyard.{name}") is None


def test_who_only_asks_whether_a_name_is_there_is_told_no() -> None:
    tasks = importlib.import_module("taskyard.tasks")
    assert not hasattr(tasks, "PrefectFuture")
    assert not hasattr(taskyard, "Parameter")
    assert getattr(OBJECTS["state"], "is_successful", "absent") == "absent"


@pytest.mark.parametrize(
    ("statement", "where"),
    [
        ("from taskyard import ThreadPoolTaskRunner", "taskyard.task_runners"),
        ("from taskyard import INPUTS", "taskyard.cache_policies"),
        ("from taskyard.tasks import as_completed", "taskyard.futures"),
    ],
)
def test_a_name_of_another_module_says_in_which_it_is(statement: str, where: str) -> None:
    with pytest.raises(ImportError, match=f"it is in {re.escape(where)} here"):
        executed(statement)


@pytest.mark.parametrize("statement", ["from taskyard import Zzz", "from taskyard.tasks import Zzz"])
def test_a_name_that_nobody_has_is_refused_as_always(statement: str) -> None:
    with pytest.raises(ImportError, match=r"^cannot import name 'Zzz' from 'taskyard"):
        executed(statement)


def test_a_traced_import_is_explained_as_well() -> None:
    """Debuggers and coverage change the instructions of what they look at."""
    before = sys.gettrace()
    sys.settrace(lambda *_: None)
    try:
        with pytest.raises(ImportError, match="it is Completed here"):
            executed("from taskyard.states import Success")
    finally:
        sys.settrace(before)


def sentences() -> Iterator[str]:
    for names in (
        COLLECTIONS,
        MODULES,
        NAMES,
        CALLS,
        ABSENT,
        *MEMBERS.values(),
        *ATTRIBUTES.values(),
        *FORMER.values(),
        *FIELDS.values(),
    ):
        yield from names.values()


def test_what_is_recommended_exists() -> None:
    recommended = {name for said in sentences() for name in re.findall(r"taskyard(?:\.\w+)+", said)}
    assert len(recommended) > 10
    for name in recommended:
        parts = name.split(".")
        found: Any = taskyard
        for part in parts[1:]:
            found = getattr(found, part)


def test_sentences_are_one_line_without_an_end() -> None:
    assert [said for said in sentences() if "\n" in said or "|" in said or said.endswith(".")] == []


def test_the_page_with_all_names_is_up_to_date() -> None:
    assert (DOCS / "names-of-prefect.md").read_text() == page()


def test_options_that_the_page_names_are_known() -> None:
    """What stands on the left of the table of options is refused, what stands on the right is taken."""
    text = (DOCS / "coming-from-prefect.md").read_text()
    table = text.split("## Names and options", 1)[1].split("## What behaves", 1)[0]
    rows = re.findall(r"^\| `(\w+)[^|]*\|[^|]*\| (.*) \|$", table, re.MULTILINE)
    assert len(rows) > 10
    former = {*FORMER["task"], *FORMER["flow"]}
    assert [left for left, _ in rows if left not in former] == []


def test_the_programs_of_the_page_run(tmp_path: Path) -> None:
    text = (DOCS / "coming-from-prefect.md").read_text()
    dialect, program = re.findall(r"```python\n(.*?)```", text, re.DOTALL)
    assert executed(dialect)["hello_world"].settings.task_calls == "future"
    names = executed(program.replace("\nmap_reduce()", "\n"))
    made = [names["add_one"].fn(x) for x in [1, 2, 3]]
    assert (made, names["map_reduce"].name, names["sum_numbers"].retries) == ([2, 3, 4], "map_reduce", 3)
