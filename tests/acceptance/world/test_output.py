"""What tasks print is seen in the program's terminal, as it would be at home."""

import signal
import subprocess
import time

import pytest
from support.projects import Project, said

PRINTS = """
import ctypes, logging, multiprocessing, os, subprocess, sys, threading, time, warnings
from taskyard import flow, task

def square(x):
    print("in a child", x)
    return x * x

def write(text):
    print(text, file=sys.stderr if to_stderr else sys.stdout)

{definitions}

@flow(log_prints=False)
def main():
{calls}

if __name__ == "__main__":
    main()
"""


def program(definitions: str, *calls: str) -> str:
    return PRINTS.format(definitions=definitions, calls="\n".join(f"    {call}" for call in calls))


ALIKE = {
    "lines": ('print("one")\n    print("two", 2)\n    sys.stdout.write("three\\n")', "one\ntwo 2\nthree\n"),
    "parts of a line": ('print("a", end="")\n    print("b", end="-", flush=True)\n    print()', "ab-\n"),
    "bytes": ('sys.stdout.buffer.write("grün\\n".encode())\n    sys.stdout.flush()', "grün\n"),
    "lines of many writes": ('print(*range(5), sep=", ")', "0, 1, 2, 3, 4\n"),
    "a shell": (
        'print("a")\n    sys.stdout.flush()\n    os.system("echo b")\n    print("c")\n'
        '    sys.stdout.flush()\n    subprocess.run(["echo", "d"])\n    print("e")',
        "a\nb\nc\nd\ne\n",
    ),
    "captured": (
        'print(subprocess.run(["echo", "x"], capture_output=True, text=True).stdout.strip() + "!")',
        "x!\n",
    ),
    "a thread": (
        'one = threading.Thread(target=print, args=("in a thread",))\n    one.start()\n    one.join()',
        "in a thread\n",
    ),
    "the descriptor": ('os.write(1, b"straight\\n")', "straight\n"),
    "an odd character": ('print("\\udce4".encode("utf-8", "surrogateescape") == b"\\xe4")', "True\n"),
}


@pytest.mark.parametrize("name", ALIKE)
def test_standard_output_is_as_at_home(project: Project, name: str) -> None:
    body, expected = ALIKE[name]
    project.write({"prog.py": program(f"@task\ndef say():\n    {body}", "say()")})
    assert project.both("prog.py") == expected


def test_children_of_pools_print(project: Project) -> None:
    body = "with multiprocessing.Pool(2) as pool:\n        print(sum(pool.map(square, range(4))))"
    project.write({"prog.py": program(f"@task\ndef say():\n    {body}", "say()")})
    lines = project.agents("prog.py").splitlines()
    assert lines[-1] == "14"
    assert sorted(lines[:-1]) == [f"in a child {number}" for number in range(4)]


def streams(process: subprocess.Popen[str]) -> tuple[str, str]:
    out, err = process.communicate(timeout=60)
    assert process.returncode == 0, err
    return out, err


def test_standard_error_warnings_and_libraries_are_seen(project: Project) -> None:
    body = (
        'print("to stderr", file=sys.stderr)\n    warnings.warn("careful")\n'
        '    logging.getLogger("lib").warning("of a library")\n'
        '    logging.getLogger("lib").info("not wanted")'
    )
    project.write({"prog.py": program(f"@task\ndef say():\n    {body}", "say()")})
    out, err = streams(project.start("prog.py"))
    assert out == ""
    lines = err.splitlines()
    assert lines[0] == "to stderr"
    assert lines[1].endswith("UserWarning: careful")
    assert 'warnings.warn("careful")' in lines[2]
    assert lines[3:] == ["of a library"]


def test_records_of_libraries_go_to_the_handlers_of_the_program(project: Project) -> None:
    definitions = """
logging.basicConfig(level=logging.INFO, stream=sys.stdout, format="%(levelname)s %(name)s %(message)s")
logging.getLogger("quiet").setLevel(logging.ERROR)
logging.getLogger("loud").setLevel(logging.DEBUG)

@task
def say():
    logging.getLogger("lib").info("an %s", "info")
    logging.getLogger("lib").debug("too much")
    logging.getLogger("quiet").warning("unwanted")
    logging.getLogger("loud").debug("detail")
    try:
        1 / 0
    except ZeroDivisionError:
        logging.exception("failed")
"""
    project.write({"prog.py": program(definitions, "say()", "logging.disable(logging.INFO)", "say()")})
    lines = project.both("prog.py").splitlines()
    assert lines[:3] == ["INFO lib an info", "DEBUG loud detail", "ERROR root failed"]
    assert lines[3] == "Traceback (most recent call last):"
    assert "ZeroDivisionError: division by zero" in lines
    assert lines[lines.index("ZeroDivisionError: division by zero") + 1] == "ERROR root failed"


def test_log_prints_makes_them_log_records_and_nothing_else(project: Project) -> None:
    definitions = '@task(log_prints=True)\ndef say():\n    print("a record")\n    os.system("echo a line")'
    project.write({"prog.py": program(definitions, "say()")})
    out, err = streams(project.start("prog.py", TASKYARD_LOG_LEVEL="INFO"))
    assert out == "a line\n"
    assert [line.split(" | ")[-1] for line in err.splitlines() if "a record" in line] == [
        "Task run 'say-0' - a record"
    ]


def test_what_async_tasks_start_prints_for_the_run_that_started_it(project: Project) -> None:
    definitions = (
        "import asyncio\n\n@task\nasync def say(i):\n    print(i, 'begins')\n    print(i, end=' ')\n"
        "    await asyncio.sleep(0.02)\n    print('goes on')\n"
        "    await asyncio.to_thread(print, i, 'a thread')\n"
        "    os.system(f'echo {i} a shell; printf begun')\n    print()\n"
        "    print(i, 'after it')\n    os.system(f'printf \"{i} last\"')"
    )
    project.write({"prog.py": program(definitions, "say.map(range(20)).wait()")})
    shown = said(project.start("prog.py", TASKYARD_OUTPUT="prefixed"))
    lines = [line.split(" | ") for line in shown.splitlines()]
    for number in range(20):
        expected = ["{} begins", "{} goes on", "{} a thread", "{} a shell", "begun", "{} after it", "{} last"]
        own = [text for name, text in lines if name == f"say-{number}"]
        assert own == [text.format(number) for text in expected]


@pytest.mark.parametrize("last", ["os._exit(7)", "ctypes.string_at(0)", "os.kill(os.getpid(), 9)"])
def test_last_words_before_a_crash_are_heard(project: Project, last: str) -> None:
    definitions = f'@task\ndef fall():\n    print("last words")\n    {last}'
    project.write({"prog.py": program(definitions, "print(fall(return_state=True).name)")})
    lines = project.agents("prog.py").splitlines()
    assert set(lines[:-1]) == {"last words"}
    assert lines[-1] == "Crashed"


def test_what_a_run_printed_before_its_time_was_up_is_heard(project: Project) -> None:
    definitions = '@task(timeout_seconds=0.5)\ndef slow():\n    print("begins")\n    time.sleep(60)'
    project.write({"prog.py": program(definitions, "print(slow(return_state=True).name)")})
    assert project.agents("prog.py").splitlines() == ["begins", "TimedOut"]


def test_tasks_that_tasks_call_are_heard_by_the_program(project: Project) -> None:
    definitions = (
        '@task\ndef inner():\n    print("inner")\n\n'
        '@task\ndef middle():\n    inner()\n    print("middle")\n\n'
        '@task\ndef outer():\n    print("before")\n    middle()\n    print("after")'
    )
    project.write({"prog.py": program(definitions, "outer()")})
    assert project.both("prog.py").splitlines() == ["before", "inner", "middle", "after"]


def test_log_records_of_tasks_that_tasks_call_are_heard_by_the_program(project: Project) -> None:
    definitions = (
        '@task(log_prints=True)\ndef inner():\n    print("inner")\n\n@task\ndef outer():\n    inner()'
    )
    project.write({"prog.py": program(definitions, "outer()")})
    _, err = streams(project.start("prog.py", TASKYARD_LOG_LEVEL="INFO"))
    assert "Task run 'inner-0' - inner" in err


def test_a_line_is_seen_while_its_task_goes_on(project: Project) -> None:
    definitions = '@task\ndef slow():\n    print("begun")\n    time.sleep(600)'
    project.write({"prog.py": program(definitions, "slow()")})
    process = project.start("prog.py")
    assert process.stdout is not None
    assert process.stdout.readline() == "begun\n"
    process.send_signal(signal.SIGINT)
    process.communicate(timeout=60)


def test_a_line_that_is_not_ended_is_seen_while_its_task_goes_on(project: Project) -> None:
    definitions = '@task\ndef slow():\n    print("50 %", end="", flush=True)\n    time.sleep(600)'
    project.write({"prog.py": program(definitions, "slow()")})
    process = project.start("prog.py")
    assert process.stdout is not None
    assert process.stdout.read(4) == "50 %"
    process.send_signal(signal.SIGINT)
    process.communicate(timeout=60)


def test_lines_of_many_runs_are_whole_and_all_there(project: Project) -> None:
    definitions = '@task\ndef say(i):\n    print("line", i, "of many", end=" ")\n    print("runs")'
    project.write({"prog.py": program(definitions, "say.map(range(3000)).wait()")})
    lines = project.agents("prog.py").splitlines()
    assert sorted(lines) == sorted(f"line {number} of many runs" for number in range(3000))


@pytest.mark.parametrize(
    ("mode", "expected"), [("prefixed", ["say-0 | one", "say-0 | two"]), ("off", []), ("raw", ["one", "two"])]
)
def test_how_output_is_shown_is_a_setting(project: Project, mode: str, expected: list[str]) -> None:
    project.write({"prog.py": program('@task\ndef say():\n    print("one\\ntwo")', "say()")})
    assert said(project.start("prog.py", TASKYARD_OUTPUT=mode)).splitlines() == expected


@pytest.mark.parametrize(
    "call", ["input()", "breakpoint()", "__import__('pdb').set_trace()", "sys.stdin.read()"]
)
def test_who_wants_to_talk_to_somebody_is_told_what_to_do(project: Project, call: str) -> None:
    project.write({"prog.py": program(f"@task\ndef ask():\n    {call}", "print(ask(return_state=True))")})
    assert "TASKYARD_TASK_RUNNER=threads" in project.agents("prog.py")


def test_a_flood_harms_nobody_and_what_is_not_shown_is_counted(project: Project) -> None:
    definitions = (
        "@task\ndef flood():\n    line = 'x' * 1000 + '\\n'\n"
        "    for _ in range(60_000):\n        sys.stdout.write(line)\n    return 'done'"
    )
    project.write({"prog.py": program(definitions, "print(flood())", "time.sleep(2)")})
    began = time.monotonic()
    out, err = streams(project.start("prog.py", TASKYARD_LOG_LEVEL="WARNING"))
    assert "done" in out.splitlines()
    shown = sum(line.startswith("x") for line in out.splitlines())
    assert 1_000 < shown <= 60_000
    assert shown == 60_000 or "not shown" in err
    assert time.monotonic() - began < 60


def test_what_modules_print_when_they_are_imported_is_printed_once(project: Project) -> None:
    project.write(
        {
            "helper.py": 'print("helper is imported")\n\ndef value():\n    return 5\n',
            "prog.py": program("import helper\n\n@task\ndef use():\n    print(helper.value())", "use()"),
        }
    )
    assert project.both("prog.py") == "helper is imported\n5\n"


def test_a_line_that_another_program_has_not_ended_is_seen_while_that_goes_on(project: Project) -> None:
    definitions = '@task\ndef slow():\n    subprocess.run(["sh", "-c", "printf 50%%; sleep 600"])'
    project.write({"prog.py": program(definitions, "slow()")})
    process = project.start("prog.py")
    assert process.stdout is not None
    assert process.stdout.read(3) == "50%"
    process.send_signal(signal.SIGINT)
    process.communicate(timeout=60)
