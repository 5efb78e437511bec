"""Takes the Python standard library apart, file by file, and reports what is in it.

    python examples/quickstart.py        # or: make quickstart

Nothing needs to be running: the first program that uses Taskyard starts a yard in the background (control
plane, agent and database under ~/.taskyard), which ends when nobody uses it any more. Run this twice: the
second time every measurement comes from the cache.
"""

import ast
import hashlib
import sys
import sysconfig
import time
import zlib
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.progress import track
from rich.table import Table

from taskyard import as_completed, flow, task
from taskyard.context import TaskRunContext
from taskyard.runtime import task_run

Counted = dict[str, Any]

LIBRARY = Path(sysconfig.get_path("stdlib"))
NOT_THE_LIBRARY = {"site-packages", "test", "tests", "idle_test", "__pycache__"}
BRANCHES = (ast.If, ast.For, ast.AsyncFor, ast.While, ast.ExceptHandler, ast.BoolOp, ast.IfExp)


@task
def find_modules() -> list[str]:
    """Lists the source files of the standard library, its tests left out."""
    files = (path.relative_to(LIBRARY) for path in LIBRARY.rglob("*.py"))
    return sorted(
        str(file)
        for file in files
        if file.parts[0].removesuffix(".py") in sys.stdlib_module_names
        and NOT_THE_LIBRARY.isdisjoint(file.parts)
    )


def same_content(context: TaskRunContext, parameters: dict[str, Any]) -> str:
    """A file that has not changed is not measured again. Raise the number when `measure` changes."""
    content = (LIBRARY / parameters["file"]).read_bytes()
    return f"measure 1, {parameters['file']}, {hashlib.sha256(content).hexdigest()}"


@task(cache_key_fn=same_content, retries=2, retry_delay_seconds=0.2)
def measure(file: str) -> Counted:
    """Counts what is in one file."""
    # Disks fail rarely, so this one fails on purpose, at the first attempt for one file in fifty.
    if task_run.run_count == 1 and zlib.crc32(file.encode()) % 50 == 0:
        raise OSError(f"could not read {file}")

    source = (LIBRARY / file).read_text(encoding="utf-8")
    lines = source.splitlines()
    nodes = list(ast.walk(ast.parse(source)))
    functions = [node for node in nodes if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)]
    return {
        "file": file,
        "lines": len(lines),
        "comments": sum(line.lstrip().startswith("#") for line in lines),
        "classes": sum(isinstance(node, ast.ClassDef) for node in nodes),
        "functions": len(functions),
        "most_complex": max(((complexity(one), one.name) for one in functions), default=(0, "")),
        "attempts": task_run.run_count,
    }


def complexity(function: ast.AST) -> int:
    """Returns how many ways lead through a function, roughly."""
    return 1 + sum(isinstance(node, BRANCHES) for node in ast.walk(function))


@task
def summarise(measured: list[Counted]) -> Counted:
    """Makes one report of all measurements."""
    totals = {key: sum(one[key] for one in measured) for key in ("lines", "comments", "classes", "functions")}
    return {
        "files": len(measured),
        **totals,
        "retried": sum(one["attempts"] > 1 for one in measured),
        "biggest": sorted(measured, key=lambda one: one["lines"], reverse=True)[:5],
        "most_complex": sorted(measured, key=lambda one: one["most_complex"], reverse=True)[:5],
    }


@flow
def take_library_apart() -> tuple[Counted, int]:
    """Measures every file of the standard library; returns the report and how much came from the cache."""
    measured = measure.map(find_modules())
    report = summarise.submit(measured)  # starts when the last measurement is done
    cached = 0
    for future in track(as_completed(measured), description="measuring", total=len(measured)):
        cached += future.state.name == "Cached"
    return report.result(), cached


def show(report: Counted, cached: int, seconds: float) -> None:
    """Prints the report."""
    table = Table("biggest modules", "lines", "most complex functions", "branches")
    for big, tangled in zip(report["biggest"], report["most_complex"], strict=True):
        score, name = tangled["most_complex"]
        table.add_row(big["file"], f"{big['lines']:,}", f"{tangled['file']}: {name}", str(score))
    Console().print(table)
    print(f"{report['classes']:,} classes and {report['functions']:,} functions in {report['files']:,} files")
    print(f"{report['lines']:,} lines, {report['comments'] / report['lines']:.0%} of them comments")
    print(f"{report['retried']:,} files took more than one attempt")
    print(f"{report['files'] - cached:,} measured now, {cached:,} served from the cache, {seconds:.1f} s")


if __name__ == "__main__":
    started = time.perf_counter()
    show(*take_library_apart(), seconds=time.perf_counter() - started)
