"""Large values are stored once, shared as files, and are values like all others."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from taskyard import flow, task, unmapped
from taskyard._network.session import blobs
from taskyard._network.session.sessions import current_session
from taskyard.task_runners import AgentTaskRunner, ThreadPoolTaskRunner
from taskyard_contract.blobs.directory import BlobDirectory
from taskyard_contract.errors import TaskyardError

pytestmark = pytest.mark.usefixtures("plane")

ROWS = 100_000  # of float64: 800 kB


@task
def make(value: float) -> Any:
    return np.full(ROWS, value)


@task
def total(array: Any) -> float:
    array[0] += 1  # of this run alone
    return float(array.sum())


@task
def add(table: Any, row: int) -> float:
    return float(table[row]) + row


@task
def identity(value: Any) -> Any:
    return value


def directory() -> BlobDirectory:
    found = current_session().open().blobs.directory
    assert found is not None
    return found


def stored() -> set[str]:
    return {path.name for path in directory().root.glob("*/*")}


@pytest.fixture(params=["near", "far"])
def place(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """Whether this program sees the directory of the control plane, which agents here do anyhow."""
    if request.param == "far":
        monkeypatch.setattr(blobs.Blobs, "directory", None)
    return str(request.param)


def test_an_array_goes_from_task_to_task_and_to_the_program(place: str) -> None:
    @flow
    def main() -> tuple[float, float, Any]:
        made = make.submit(2.0)
        return total(made), total(made), made.result()

    first, second, array = main()
    assert first == second == 2.0 * ROWS + 1, "a run saw what another one has changed"
    assert array.flags.writeable
    assert float(array.sum()) == 2.0 * ROWS


def test_what_all_children_of_a_map_have_is_stored_once() -> None:
    table, before = np.arange(ROWS, dtype=float) + 0.5, stored()

    @flow
    def main() -> list[float]:
        return add.map(unmapped(table), list(range(20))).result()

    assert main() == [2 * row + 0.5 for row in range(20)]
    assert [name[:3] for name in stored() - before] == ["b3-"]


def test_equal_arguments_are_stored_once_whoever_submits_them(place: str) -> None:
    table = np.arange(ROWS, dtype=float) + 7

    @flow
    def main() -> list[float]:
        return [add.submit(table, 1).result(), add.submit(table.copy(), row=2).result()]

    assert main() == [9.0, 11.0]
    if place == "near":
        before = stored()
        assert main() == [9.0, 11.0]
        assert stored() == before


def test_an_argument_that_is_changed_after_its_call_is_sent_as_it_was() -> None:
    @flow
    def main() -> float:
        array = np.zeros(ROWS)
        called = total.submit(array)
        array += 5
        return called.result()

    assert main() == 1.0


VALUES: dict[str, Callable[[], Any]] = {
    "bytes": lambda: b"x" * 3_000_000,
    "bytearray": lambda: bytearray(b"y" * 300_000),
    "text": lambda: "é" * 300_000,
    "list": lambda: list(range(100_000)),
    "nested": lambda: {"a": [b"x" * 70_000, {"b": "y" * 70_000}], "c": None},
}


@pytest.mark.parametrize("kind", VALUES)
def test_large_values_of_all_kinds_come_back_as_they_were(place: str, kind: str) -> None:
    value = VALUES[kind]()

    @flow
    def main() -> Any:
        return identity(identity.submit(value))

    assert main() == value
    assert identity(value=value) == value


def test_arrays_in_containers_and_frames_come_back_as_they_were() -> None:
    pandas = pytest.importorskip("pandas")
    frame = pandas.DataFrame({"a": np.arange(50_000.0), "b": ["text"] * 50_000})
    both = identity({"frame": frame, "fortran": np.asfortranarray(np.ones((300, 400)))})
    pandas.testing.assert_frame_equal(both["frame"], frame)
    assert both["fortran"].flags.f_contiguous


def test_a_large_argument_with_futures_in_it_waits_for_them() -> None:
    @flow
    def main() -> Any:
        return identity([make.submit(1.0), "x" * 100_000]).copy()

    array, text = main()
    assert (float(array[5]), len(text)) == (1.0, 100_000)


@pytest.mark.parametrize("runner", [AgentTaskRunner, ThreadPoolTaskRunner])
def test_results_of_tasks_and_flows_are_large_with_any_runner(runner: Callable[[], Any]) -> None:
    @flow(task_runner=runner())
    def inner() -> Any:
        return make(3.0)

    @flow
    def outer() -> float:
        return float(inner().sum())

    assert outer() == 3.0 * ROWS


def test_a_result_that_is_gone_is_an_error_that_names_it() -> None:
    @flow
    def main() -> Any:
        made = make.submit(4.0)
        made.wait()
        [name] = {name for name in stored() - before if name.startswith("run-")}
        directory().remove(name)
        with pytest.raises(Exception, match=name):
            total(made)
        with pytest.raises(TaskyardError, match=name):
            made.result()

    before = stored()
    main()


def test_a_result_with_a_flipped_bit_is_not_taken_for_it() -> None:
    @flow
    def main() -> Any:
        made = make.submit(5.0)
        made.wait()
        [name] = {name for name in stored() - before if name.startswith("run-")}
        flip(directory().path(name))
        with pytest.raises(Exception, match="damaged"):
            total(made)
        with pytest.raises(Exception, match="damaged"):
            made.result()

    before = stored()
    main()


def flip(path: Path) -> None:
    with path.open("r+b") as file:
        file.seek(500_000)
        byte = file.read(1)
        file.seek(500_000)
        file.write(bytes([byte[0] ^ 1]))


def test_a_flow_may_take_and_return_what_is_large() -> None:
    @flow
    def main(table: Any) -> Any:
        return table * 2

    before, table = stored(), np.full(ROWS, 3.0)
    returned: Any = main(table, return_state=True)  # type: ignore[call-arg]
    assert float(returned.result().sum()) == 6.0 * ROWS
    [name] = stored() - before  # of the value alone: parameters are recorded where they are small
    assert name.startswith("b3-")
