"""Code that travels by value keeps its file and shows its lines where that file is not."""

import gc
import linecache
import traceback
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from taskyard_contract import code_lines, pickling
from taskyard_contract.failures import failure_of

PROGRAM = """\
def one():
    return [
        1 / 0
        for _ in "a"
    ]


def two(divisor):
    def inside():
        return 1 / divisor
    return inside()
"""


@pytest.fixture
def program(tmp_path: Path) -> Iterator[Path]:
    """A file with functions, and what linecache knows about it taken back afterwards."""
    path = tmp_path / "program.py"
    path.write_text(PROGRAM)
    yield path
    linecache.cache.pop(str(path), None)


def functions(path: Path) -> dict[str, Callable[..., Any]]:
    namespace: dict[str, Any] = {"__name__": "__main__"}
    exec(compile(path.read_text(), str(path), "exec"), namespace)
    return {name: namespace[name] for name in ("one", "two")}


def travelled(path: Path, name: str, *, remove: bool = True) -> Callable[..., Any]:
    """Pickle a function of a file and load it where that file is not."""
    data = pickling.dumps_by_value(functions(path)[name])
    linecache.clearcache()
    if remove:
        path.unlink(missing_ok=True)
    function: Callable[..., Any] = pickling.loads(data)
    return function


def raised(function: Callable[..., Any], *args: Any) -> str:
    with pytest.raises(ZeroDivisionError) as error:
        function(*args)
    return "".join(traceback.format_exception(error.value))


def told(function: Callable[..., Any], *args: Any) -> str:
    """The traceback that a failure brings along."""
    with pytest.raises(ZeroDivisionError) as error:
        function(*args)
    return failure_of(error.value).traceback


def test_a_traceback_shows_file_and_line_without_the_file(program: Path) -> None:
    text = raised(travelled(program, "two"), 0)
    assert f'File "{program}", line 10, in inside' in text
    assert "return 1 / divisor" in text
    assert "return inside()" in text


def test_functions_of_one_file_add_up(program: Path) -> None:
    both = functions(program)
    data = [pickling.dumps_by_value(both[name]) for name in ("two", "one")]
    linecache.clearcache()
    program.unlink()
    two, one = map(pickling.loads, data)
    assert "return 1 / divisor" in raised(two, 0)
    assert "1 / 0" in raised(one)
    assert linecache.getline(str(program), 6) == "\n"


def test_a_file_that_was_changed_since_shows_what_was_submitted(program: Path) -> None:
    two = functions(program)["two"]
    data = pickling.dumps_by_value(two)
    program.write_text("# something else\n" * 30)
    linecache.clearcache()
    assert "return 1 / divisor" in raised(pickling.loads(data), 0)
    assert linecache.getline(str(program), 30) == "# something else\n"


def test_two_versions_of_a_file_show_each_its_own_lines(program: Path) -> None:
    first = travelled(program, "two")
    program.write_text(PROGRAM.replace("return 1 / divisor", "return 22 / divisor"))
    second = travelled(program, "two")
    for function, line in [(first, "return 1 / divisor"), (second, "return 22 /"), (first, "return 1 /")]:
        assert line in told(function, 0)


def test_code_that_travels_on_takes_its_own_lines_along(program: Path) -> None:
    first = travelled(program, "two")
    program.write_text(PROGRAM.replace("return 1 / divisor", "return 22 / divisor"))
    travelled(program, "two")
    assert "return 1 / divisor" in code_lines.lines_of(first.__code__)
    (inside,) = code_lines.inner_codes(first.__code__)
    assert code_lines.lines_of(inside) == "    def inside():\n        return 1 / divisor\n"


def test_lines_of_code_that_is_gone_are_not_kept(program: Path) -> None:
    both = [travelled(program, "two")]
    program.write_text(PROGRAM.replace("1 / 0", "2 / 0"))
    both.append(travelled(program, "one"))
    assert "return 1 / divisor" in told(both[0], 0)
    both.pop()
    gc.collect()
    assert "return 1 / divisor" in told(both[0], 0)
    both.pop()
    gc.collect()
    assert str(program) not in linecache.cache


def test_lines_that_somebody_else_put_there_stay_when_code_goes(program: Path) -> None:
    function = travelled(program, "two")
    theirs = (1, None, ["theirs\n"], str(program))
    linecache.cache[str(program)] = theirs
    del function
    gc.collect()
    assert linecache.cache[str(program)] is theirs


def test_an_unchanged_file_is_left_alone(program: Path) -> None:
    travelled(program, "two", remove=False)
    size, modified, lines, _ = linecache.cache[str(program)]  # type: ignore[misc]  # it was read, so it is whole
    assert (size, modified, "".join(lines)) == (len(PROGRAM), program.stat().st_mtime, PROGRAM)


def test_very_long_functions_travel_without_their_lines(program: Path) -> None:
    program.write_text(PROGRAM.replace("    return inside()", "    'x'\n" * 20_000 + "    return inside()"))
    text = raised(travelled(program, "two"), 0)
    assert f'File "{program}", line 10, in inside' in text
    assert "return 1 / divisor" not in text


def test_code_without_a_file_travels_too() -> None:
    namespace: dict[str, Any] = {"__name__": "__main__"}
    exec("def f():\n    return 1 / 0\n", namespace)
    assert code_lines.lines_of(namespace["f"].__code__) == ""
    assert 'File "<string>", line 2, in f' in raised(pickling.loads(pickling.dumps_by_value(namespace["f"])))


@pytest.mark.parametrize("mark", ["\f", "    # \x85 \u2028 \x1c"])
def test_lines_end_where_those_of_files_do(tmp_path: Path, mark: str) -> None:
    path = tmp_path / "paged.py"
    path.write_text(f"def two(divisor):\n{mark}\n    return 1 / divisor\n\n\none = None\n", encoding="utf-8")
    assert "return 1 / divisor" in raised(travelled(path, "two"), 0)
    linecache.cache.pop(str(path), None)


def test_the_bound_of_lines_is_one_of_bytes(tmp_path: Path) -> None:
    path = tmp_path / "wide.py"
    text = "é" * (code_lines.MAX_LINES_BYTES // 2)
    path.write_text(f"def one():\n    return '{text}'\n\n\ntwo = None\n", encoding="utf-8")
    assert code_lines.lines_of(functions(path)["one"].__code__) == ""
    linecache.cache.pop(str(path), None)
