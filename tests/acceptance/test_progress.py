"""The line that says how far a flow run is: on a real terminal, with all that a program writes there."""

import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from support.programs import Stage
from support.screen import OnTerminal, for_terminal

PROGRAM = """
import logging, os, sys, time
from pathlib import Path
from taskyard import flow, get_run_logger, task

logging.basicConfig(level=logging.INFO, format="%(levelname)s %(message)s")
GATE = Path(sys.argv[2])

@task
def step(number):
    deadline = time.monotonic() + 60
    while number >= 4 and not GATE.exists() and time.monotonic() < deadline:
        time.sleep(0.02)
    if number == 2:
        raise ValueError("two")
    return number

def shown():
    # Until the line has been drawn: the test writes into the terminal what it waited for.
    sys.stdin.readline()

@flow
def main():
    futures = step.map(range(8))
    for number in range(4):
        futures[number].wait()
    shown()
    BODY
    GATE.touch()
    for future in futures:
        future.wait()

if __name__ == "__main__":
    main()
"""
SAYS = """for number in range(20):
        print(f"<printed {number}>")
        logging.info("<logged %d>", number)
        get_run_logger().info("<said %d>", number)
        sys.stdout.buffer.write(f"<bytes {number}>\\n".encode()); sys.stdout.buffer.flush()
        time.sleep(0.03)"""
LINE = rb"main-run: step 4/8 done, 1 failed"


class Shown:
    """Starts the program on a terminal."""

    def __init__(self, stage: Stage, folder: Path) -> None:
        self._stage, self._folder = stage, folder
        self.started: list[OnTerminal] = []

    def __call__(self, body: str = "pass", *, columns: int = 80, **environment: str) -> OnTerminal:
        script = self._folder / "program.py"
        text = PROGRAM.replace("BODY", body).replace("@flow\n", '@flow(flow_run_name="main-run")\n')
        script.write_text(text)
        variables = for_terminal(self._stage.environment, **environment)
        pipes = [name for name in ("stdout", "stderr") if variables.pop(f"PIPE_{name}", "")]
        gate = str(self._folder / "gate")
        program = OnTerminal(
            str(script), "run", gate, environment=variables, columns=columns, lines=200, pipes=pipes
        )
        self.started.append(program)
        return program


@pytest.fixture
def on_terminal(stage: Stage, tmp_path: Path) -> Iterator[Shown]:
    shown = Shown(stage, tmp_path)
    yield shown
    for program in shown.started:
        program.close()


def go_on(program: OnTerminal) -> None:
    """Let the program go on once its line is shown."""
    program.read_until(lambda written: LINE in written)
    program.type(b"\n")


def test_lines_are_whole_and_nothing_is_left_of_the_progress(on_terminal: Shown) -> None:
    program = on_terminal(SAYS)
    go_on(program)
    assert program.wait() == 0
    lines = program.screen().lines
    for what in ("<printed {}>", "INFO <logged {}>", "<bytes {}>"):
        assert [line for line in lines if line in {what.format(number) for number in range(20)}] == [
            what.format(number) for number in range(20)
        ]
    said = [line for line in lines if "<said" in line]
    assert [re.sub(r"^[\d:.]+ ", "", line) for line in said] == [
        f"| INFO    | Flow run 'main-run' - <said {number}>" for number in range(20)
    ]
    assert not [line for line in lines if "done" in line or "waiting" in line], lines
    assert "Finished in state" in lines[-1]


@pytest.mark.parametrize(
    "environment",
    [
        {"TASKYARD_PROGRESS": "off"},
        {"TERM": "dumb"},
        {"CI": "true"},
        {"PIPE_stderr": "yes"},
    ],
    ids=lambda one: "-".join(one),
)
def test_where_nobody_looks_there_is_not_one_byte_of_it(
    on_terminal: Shown, environment: dict[str, str]
) -> None:
    program = on_terminal("time.sleep(1.5)", **environment)
    program.type(b"\n")
    streams = (program.process.stdout, program.process.stderr)
    piped = b"".join(stream.read() for stream in streams if stream is not None)
    assert program.wait() == 0
    written = program.written + piped
    assert b"Finished in state" in written
    assert b"done" not in written
    assert b"\x1b[J" not in written
    assert b"\x1bD" not in written


def test_all_in_pipes_is_as_it_was(on_terminal: Shown) -> None:
    program = on_terminal(SAYS, PIPE_stdout="yes", PIPE_stderr="yes")
    program.type(b"\n")
    out, errors = program.process.communicate(timeout=60)
    assert program.process.returncode == 0
    assert b"\x1b" not in out + errors
    assert sorted(out.decode().splitlines()) == sorted(
        f"<{what} {number}>" for number in range(20) for what in ("printed", "bytes")
    )


def test_quick_flows_show_nothing(on_terminal: Shown) -> None:
    program = on_terminal()
    program.type(b"\n")
    (Path(program.process.args[-1])).touch()  # type: ignore[index]
    assert program.wait() == 0
    assert b" done" not in program.written


@pytest.mark.parametrize("ending", ["raise LookupError('over')", "sys.exit(3)", "os._exit(4)"])
def test_however_it_ends_what_comes_after_it_is_whole(on_terminal: Shown, ending: str) -> None:
    program = on_terminal(f"GATE.touch(); {ending}")
    go_on(program)
    assert program.wait() == {"r": 1, "s": 3, "o": 4}[ending[0]]
    if ending[0] != "o":  # nobody can clear up behind that
        assert not [line for line in program.screen().lines if " done" in line]


def test_ctrl_c_leaves_nothing_of_it(on_terminal: Shown) -> None:
    program = on_terminal("GATE.touch(); time.sleep(60)")
    go_on(program)
    program.type(b"\x03")
    assert program.wait() != 0
    lines = program.screen().lines
    assert any("KeyboardInterrupt" in line for line in lines)  # what was cancelled may be said after it
    assert not [line for line in lines if " done" in line]


def test_a_terminal_that_becomes_narrower_has_a_shorter_line(on_terminal: Shown) -> None:
    program = on_terminal("shown()")
    go_on(program)
    begun = len(program.written)
    program.resize(40, 200)
    program.read_until(
        lambda written: re.search(rb"\n?main-[^\r]*\xe2\x80\xa6 4/8 done", written[begun:]) is not None
    )
    program.type(b"\n")
    assert program.wait() == 0


def test_a_program_with_a_bar_of_its_own_has_the_terminal(on_terminal: Shown) -> None:
    program = on_terminal("from rich.progress import track\n    for _ in track(range(30)): time.sleep(0.05)")
    go_on(program)
    program.read_until(lambda written: b"Working" in written)
    begun = len(program.written)
    assert program.wait() == 0
    assert LINE not in program.written[begun:]
    assert sum("Working" in line for line in program.screen().lines) == 1


def test_a_wrong_word_is_said_before_there_is_a_run(on_terminal: Shown) -> None:
    program = on_terminal(TASKYARD_PROGRESS="maybe")
    assert program.wait() == 1
    assert b"TASKYARD_PROGRESS is 'maybe'; expected on or off" in program.written
    assert b"Beginning" not in program.written


def test_a_flow_run_is_watched_and_told_as_a_tree_from_outside(
    on_terminal: Shown, stage: Stage, tmp_path: Path
) -> None:
    program = on_terminal()
    program.read_until(lambda written: LINE in written)
    command = "-c", "import sys; from taskyard.cli import main; sys.exit(main())", "run"
    environment = for_terminal(stage.environment)
    watching = OnTerminal(*command, "watch", "main-run", environment=environment)
    on_terminal.started.append(watching)
    watching.read_until(lambda written: LINE in written)
    program.type(b"\n")
    assert program.wait() == 0
    assert watching.wait() == 0
    [end] = watching.screen().lines
    assert end.startswith("main-run Completed: 8/8 task runs done, 1 failed, took "), end
    tree = OnTerminal(*command, "tree", "main-run", environment=environment, columns=200)
    on_terminal.started.append(tree)
    assert tree.wait() == 0
    [root, steps] = tree.screen(200).lines
    assert root.startswith("main-run (flow main, "), root
    assert steps.startswith("└─ step x 8: 7 completed, 1 failed, median "), steps


@pytest.mark.parametrize("runner", ["agents", "threads"])
def test_tasks_in_threads_are_counted_like_those_in_agents(on_terminal: Shown, runner: str) -> None:
    program = on_terminal(TASKYARD_TASK_RUNNER=runner)
    go_on(program)
    assert program.wait() == 0
