"""Flows drawn as graphs: row 29, section B18."""

import asyncio
import inspect
import os
import re
import threading
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import pytest
from support.loopback import LoopbackSession

from taskyard.exceptions import ParameterBindError
from taskyard.flows import Flow, flow
from taskyard.remote import remote_task
from taskyard.tasks import task
from taskyard.utilities import visualization
from taskyard.utilities.annotations import allow_failure
from taskyard.utilities.visualization import (
    FlowVisualizationError,
    GraphvizExecutableNotFoundError,
    GraphvizImportError,
    TaskVizTracker,
    VisualizationUnsupportedError,
    VizTask,
    build_task_dependencies,
    get_task_viz_tracker,
    track_viz_task,
)


@task
def get(x: Any = None) -> Any:
    raise AssertionError("tasks of a drawing are not executed")


@task(name="put it")
def put(*values: Any) -> Any:
    raise AssertionError("tasks of a drawing are not executed")


def edges(drawn: Flow[..., Any], *args: Any, **kwargs: Any) -> list[str]:
    """Return the edges of a drawing as "from > to", and calls without any edge by themselves."""
    text: str = drawn.generate_mermaid_graph(*args, **kwargs)
    first, *lines = text.splitlines()
    assert first == "flowchart TD"
    names = dict(re.findall(r'^    (n\d+)\["(.*)"\]$', text, re.MULTILINE))
    found = [re.fullmatch(r"    (n\d+) --> (n\d+)", line) for line in lines]
    pairs = [match.groups() for match in found if match]
    alone = [name for node, name in names.items() if all(node not in pair for pair in pairs)]
    return [f"{names[a]} > {names[b]}" for a, b in pairs] + alone


def test_row_29_calls_are_numbered_and_hand_their_results_on() -> None:
    @flow
    def main(n: int) -> None:
        first = get(n)
        second = get(first)
        put(first, second)

    assert edges(main, 1) == ["get-0 > get-1", "get-0 > put it-0", "get-1 > put it-0"]
    assert main.generate_mermaid_graph(1) == (
        'flowchart TD\n    n0["get-0"]\n    n1["get-1"]\n    n2["put it-0"]\n'
        "    n0 --> n1\n    n0 --> n2\n    n1 --> n2"
    )


def test_row_29_results_are_found_at_any_depth_each_once() -> None:
    @flow
    def main() -> None:
        one = get()
        state: Any = get(return_state=True)
        put([one, {"again": one}], allow_failure(state))
        put(state.result())
        get(wait_for=[one])

    assert edges(main) == ["get-0 > put it-0", "get-1 > put it-0", "get-1 > put it-1", "get-0 > get-2"]


def test_row_29_viz_return_value_stands_for_the_result() -> None:
    rows = task(name="rows", viz_return_value=[1, 2, 3])(get.fn)

    @flow
    def main() -> None:
        found = rows()
        assert len(found) == 3
        put(found)

    assert edges(main) == ["rows-0 > put it-0"]


@pytest.mark.parametrize("value", [[], {}, set(), 0.0], ids=repr)
def test_b20_8_a_viz_return_value_may_be_false(value: Any) -> None:
    made = task(name="made", viz_return_value=value)(get.fn)

    @flow
    def main() -> None:
        assert made() is value
        put(made())

    assert edges(main) == ["made-1 > put it-0", "made-0"]


@pytest.mark.parametrize("value", [True, False, 5, 0, (), "", b"", ...], ids=repr)
def test_b18_values_that_exist_once_in_python_make_no_edges(value: Any) -> None:
    made = task(name="made", viz_return_value=value)(get.fn)

    @flow
    def main() -> None:
        put(made())

    assert edges(main) == ["made-0", "put it-0"]


@pytest.mark.parametrize("method", ["submit", "map", "apply_async", "delay"])
def test_b18_only_direct_calls_can_be_drawn(method: str) -> None:
    @flow
    def main() -> None:
        getattr(get, method)(())

    said = "apply_async" if method == "delay" else method
    with pytest.raises(VisualizationUnsupportedError, match=rf"`task\.{said}\(\)` is not currently"):
        main.generate_mermaid_graph()
    assert visualization.drawings == 0


def test_a_parameter_may_be_called_self() -> None:
    @flow
    def main(self: Any) -> None:
        put(self)

    assert main.generate_mermaid_graph(self=1) == 'flowchart TD\n    n0["put it-0"]'


def test_b18_a_subflow_is_one_node() -> None:
    @flow
    def inner(x: Any) -> None:
        raise AssertionError("it is not executed")

    @flow
    def main() -> None:
        put(inner(get()))

    assert edges(main) == ["get-0 > inner-0", "inner-0 > put it-0"]


def test_row_29_async_flows_and_tasks() -> None:
    @task
    async def fetch(x: Any = None) -> Any:
        raise AssertionError("it is not executed")

    @task(viz_return_value=[1, 2])
    async def pages() -> AsyncIterator[int]:
        raise AssertionError("it is not executed")
        yield 1

    @flow
    async def main() -> None:
        both = await asyncio.gather(fetch(), fetch())
        assert [page async for page in pages()] == [1, 2]
        put(both)

    expected = ["fetch-0 > put it-0", "fetch-1 > put it-0", "pages-0"]
    assert edges(main) == expected

    async def program() -> str:
        drawing: str = await main.generate_mermaid_graph()
        return drawing

    assert asyncio.run(program()) == main.generate_mermaid_graph()


def test_row_29_a_generator_flow_is_drawn_to_its_end() -> None:
    @flow
    def main() -> Iterator[Any]:
        yield get()
        yield put()

    assert edges(main) == ["get-0", "put it-0"]


def test_row_29_methods_and_remote_tasks_are_drawn() -> None:
    far = remote_task("far")

    class Pipeline:
        @task
        def step(self, x: Any) -> Any: ...

        @flow
        def run(self, x: int) -> None:
            put(self.step(far(x, key=x)))

    assert edges(Pipeline().run, "1") == ["far-0 > step-0", "step-0 > put it-0"]


def test_arguments_are_those_of_a_run() -> None:
    seen: list[Any] = []

    @flow
    def main(n: int, *, by: int = 2) -> None:
        seen.append((n, by))

    main.generate_mermaid_graph("7")
    assert seen == [(7, 2)]
    with pytest.raises(ParameterBindError):
        main.generate_mermaid_graph()


def test_an_error_of_the_body_is_raised_itself_with_what_it_may_come_from() -> None:
    @flow
    def main() -> None:
        len(get())

    with pytest.raises(TypeError, match="VizTask") as caught:
        main.generate_mermaid_graph()
    assert "viz_return_value" in "".join(caught.value.__notes__)
    assert (visualization.drawings, get_task_viz_tracker()) == (0, None)


def test_flows_that_other_threads_run_meanwhile_are_run(session: LoopbackSession) -> None:
    double = task(name="double")(lambda x: 2 * x)
    other = flow(name="other")(lambda: double(21))
    values: list[Any] = []

    @flow
    def main() -> None:
        thread = threading.Thread(target=lambda: values.append(other()))
        thread.start()
        thread.join()

    assert edges(main) == []
    assert values == [42]


def test_nothing_is_recorded(session: LoopbackSession) -> None:
    flow(name="f")(lambda: put(get())).generate_mermaid_graph()
    assert session.script.flow_events == []


def test_names_cannot_break_a_mermaid_text() -> None:
    odd = task(name='a "b"\n<c> & #d')(get.fn)
    text = flow(name="f")(lambda: odd()).generate_mermaid_graph()
    assert text.splitlines() == ["flowchart TD", '    n0["a #quot;b#quot; #lt;c#gt; #amp; #35;d-0"]']


def test_b18_a_graph_of_graphviz_has_the_nodes_and_edges() -> None:
    with TaskVizTracker() as tracker:
        put(get(), get())
    text = build_task_dependencies(tracker).source
    assert '"get-0" -> "put it-0"' in text
    assert '"get-1" -> "put it-0"' in text


def test_b18_without_graphviz_the_error_says_what_to_install(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    drawn = flow(name="f")(lambda: put())
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PATH", os.fspath(tmp_path))
    with pytest.raises(GraphvizExecutableNotFoundError, match="`dot` draws, is not installed"):
        drawn.visualize()
    monkeypatch.setitem(__import__("sys").modules, "graphviz", None)
    with pytest.raises(GraphvizImportError, match=re.escape("pip install 'taskyard[visualize]'")):
        drawn.visualize()


@pytest.fixture
def dot(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A program `dot` that draws nothing, on a PATH that has nothing else; and an empty directory."""
    program, folder = tmp_path / "bin" / "dot", tmp_path / "drawn"
    program.parent.mkdir()
    folder.mkdir()
    program.write_text('#!/bin/sh\nfor last; do :; done\nprintf drawn > "$last.png"\n')
    program.chmod(0o755)
    monkeypatch.setenv("PATH", str(program.parent))
    monkeypatch.chdir(folder)
    return program


def test_b18_a_png_of_the_flows_name_is_made_and_opened(dot: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import graphviz

    opened: list[str] = []
    monkeypatch.setattr(graphviz, "view", opened.append)
    drawn = flow(name="team/etl")(lambda: put())
    assert inspect.isawaitable(drawn.visualize())
    assert (os.listdir(), Path("team-etl.png").read_text(), opened) == (
        ["team-etl.png"],
        "drawn",
        ["team-etl.png"],
    )

    async def program() -> None:
        await drawn.visualize()

    asyncio.run(program())
    assert len(opened) == 2


def test_b18_where_nothing_opens_a_png_that_is_said(dot: Path, caplog: pytest.LogCaptureFixture) -> None:
    flow(name="f")(lambda: put()).visualize()
    assert os.listdir() == ["f.png"]
    assert "'f.png' was drawn, and nothing here opens it" in caplog.text


def test_b18_what_graphviz_cannot_draw_is_told(dot: Path) -> None:
    dot.write_text("#!/bin/sh\nexit 3\n")
    with pytest.raises(FlowVisualizationError, match=r"'f.png' could not be drawn: .*exit status 3"):
        flow(name="f")(lambda: put()).visualize()


def test_calls_can_be_noted_by_hand() -> None:
    assert track_viz_task(False, "nothing is drawn", {}) is None
    with TaskVizTracker() as tracker:
        first = track_viz_task(False, "a", {"x": 1})
        second = asyncio.run(track_viz_task(True, "a", {"x": first}))
    assert isinstance(second, VizTask)
    assert (repr(second), second.upstream_tasks, tracker.tasks) == (
        "<VizTask 'a-1'>",
        [first],
        [first, second],
    )
