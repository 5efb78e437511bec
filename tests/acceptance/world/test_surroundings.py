"""Tasks have the directory, the variables and the arguments that their program has at that moment, and leave
nothing of theirs to other programs."""

import os
import signal
import subprocess
from pathlib import Path

import psutil
from support.programs import Stage, eventually
from support.projects import Project, cases, right


def test_directory_variables_and_arguments(project: Project) -> None:
    project.write(
        {
            "data.txt": "here",
            "below/data.txt": "below",
            "main.py": """
            import os, sys
            from taskyard import flow, task

            @task
            def look():
                with open("data.txt") as file:
                    found = file.read()
                colour, odd = os.environ.get("COLOUR"), os.environb.get(b"ODD")
                return found, colour, odd, sys.argv[1:], sys.flags.optimize

            @flow
            def program():
                return look()

            @flow
            def changes():
                found = [look()[:2]]
                os.chdir("below")
                found.append(look()[:2])
                os.environ["COLOUR"] = "blue"
                found.append(look.submit().result()[:2])
                os.chdir("..")
                del os.environ["COLOUR"]
                found.append(look()[:2])
                return found

            print(program())
            os.environ["COLOUR"] = "green"
            sys.argv.append("more")
            os.chdir("below")
            print(program())
            os.chdir("..")
            print(changes())
            """,
        }
    )
    odd = os.fsdecode(b"\xff\xfe=\n'")
    said = project.both("-O", "main.py", "one", "two words", COLOUR="red", ODD=odd)
    assert said.splitlines() == [
        str(("here", "red", b"\xff\xfe=\n'", ["one", "two words"], 1)),
        str(("below", "green", b"\xff\xfe=\n'", ["one", "two words", "more"], 1)),
        str([("here", "green"), ("below", "green"), ("below", "blue"), ("here", None)]),
    ]


def test_what_a_process_has_besides(project: Project, tmp_path: Path) -> None:
    right(
        project,
        f"""
        import os, sys, time

        sys.setrecursionlimit(4321)
        os.umask(0o027)
        os.environ["TZ"] = "Asia/Tokyo"
        time.tzset()

        @task
        def look(path):
            with open(path, "w"):
                pass
            return (
                sys.getrecursionlimit() == 4321,
                os.stat(path).st_mode & 0o777 == 0o640,
                time.strftime("%Z") == "JST" or time.strftime("%Z"),
            )

        case("look", lambda: run(look, {str(tmp_path / "made")!r} + os.environ["TASKYARD_TASK_RUNNER"]))
        """,
    )


def test_what_the_program_has_set_in_python(project: Project) -> None:
    right(
        project,
        """
        import decimal, socket, sys, warnings

        def state():
            with warnings.catch_warnings(record=True):
                try:
                    warnings.warn("x", DeprecationWarning)
                    raised = False
                except DeprecationWarning:
                    raised = True
            third = str(decimal.Decimal(1) / 3)
            limits = sys.getrecursionlimit(), sys.get_int_max_str_digits()
            return limits, socket.getdefaulttimeout(), third, raised

        @task
        def look():
            return state()

        def agrees():
            return run(look) == state()

        case("first", agrees)
        sys.setrecursionlimit(4321)
        sys.set_int_max_str_digits(700)
        socket.setdefaulttimeout(2.5)
        decimal.getcontext().prec = 6
        warnings.simplefilter("error", DeprecationWarning)
        case("changed", agrees)

        @flow(log_prints=False)
        def between():
            found = []
            for digits in (4, 9):
                decimal.getcontext().prec = digits
                found.append(look() == state())
            return all(found)

        case("between calls", between)
        """,
    )


def test_a_directory_that_was_removed_while_the_program_was_in_it(project: Project) -> None:
    found = cases(
        project,
        """
        import os, sys, tempfile

        gone = tempfile.mkdtemp()
        os.chdir(gone)
        os.rmdir(gone)
        sys.path[:0] = ["", "relative"]

        @task
        def look():
            try:
                return os.getcwd()
            except FileNotFoundError:
                pass
            try:
                open("anything", "w")
            except FileNotFoundError:
                return "nowhere"

        case("gone", lambda: run(look))
        os.chdir("/")
        case("elsewhere", lambda: run(look))
        """,
    )
    assert found == {"gone": "nowhere", "elsewhere": "/"}


LEAVES = """
import decimal, json, locale, logging, os, random, socket, sys, threading
from taskyard import flow, task

LEFT = []

@task
def leave():
    LEFT.append(1)
    os.chdir("/")
    os.environ["LEFT"] = "1"
    os.umask(0)
    sys.path.insert(0, "/left")
    sys.argv.append("left")
    logging.disable(50)
    json.dumps = None
    socket.setdefaulttimeout(0.001)
    sys.setrecursionlimit(5000)
    decimal.getcontext().prec = 3
    random.seed(1)
    sys.modules["left"] = sys

@task
def find():
    return (
        len(LEFT), os.getcwd() == HERE, os.environ.get("LEFT"), "/left" in sys.path, "left" in sys.argv,
        logging.root.manager.disable, json.dumps is None, socket.getdefaulttimeout(), sys.getrecursionlimit(),
        decimal.getcontext().prec, "left" in sys.modules,
    )

HERE = os.getcwd()

@flow
def program():
    found = {find.submit().result() for _ in range(4)}
    for future in [leave.submit() for _ in range(4)]:
        future.result()
    return found

print(program())
"""


def test_nothing_is_left_to_the_next_program(project: Project) -> None:
    project.write({"main.py": LEAVES})
    for _ in range(2):
        assert project.agents("main.py") == (
            "{(0, True, None, False, False, 0, False, None, 1000, 28, False)}\n"
        )


def test_what_a_run_changes_of_its_surroundings_is_back_for_the_next_call(project: Project) -> None:
    project.write(
        {
            "main.py": """
            import os, sys
            from taskyard import flow, task

            @task
            def look(change):
                found = os.getcwd() == HERE, os.environ.get("LEFT"), "/left" in sys.path
                if change:
                    os.chdir("/")
                    os.environ["LEFT"] = "1"
                    sys.path.insert(0, "/left")
                return found

            HERE = os.getcwd()

            @flow
            def program():
                return {look(number % 2 == 0) for number in range(6)}

            print(program())
            """
        }
    )
    assert project.agents("main.py") == "{(True, None, False)}\n"


def test_workers_draw_different_random_numbers(project: Project) -> None:
    project.write(
        {
            "main.py": """
            import os, random, time
            from taskyard import flow, task

            random.seed(1)

            @task
            def draw():
                time.sleep(0.4)  # so long that no worker keeps the next one to itself
                return os.getpid(), random.random()

            @flow
            def program():
                return [future.result() for future in [draw.submit() for _ in range(4)]]

            drawn = program()
            print(len({number for _, number in drawn}), len({pid for pid, _ in drawn}) > 1)
            """
        }
    )
    assert project.agents("main.py") == "4 True\n"


HOLDS = """
import os, sys, time
from taskyard import flow, task

@task
def pid():
    time.sleep(0.05)
    return os.getpid()

@flow
def program():
    return {future.result() for future in [pid.submit() for _ in range(6)]}

print(*program(), flush=True)
if sys.argv[1] == "wait":
    time.sleep(60)
"""


def test_workers_end_with_their_program(project: Project) -> None:
    project.write({"main.py": HOLDS})
    pids = project.agents("main.py", "end").split()
    assert len(pids) == 2
    eventually(lambda: not any(map(_serves, pids)), "the workers are gone", seconds=2.0)


def test_workers_end_with_a_program_that_was_killed(project: Project) -> None:
    project.write({"main.py": HOLDS})
    process = project.start("main.py", "wait")
    assert process.stdout is not None
    pids = process.stdout.readline().split()
    assert all(map(_serves, pids))
    os.kill(process.pid, signal.SIGKILL)
    process.communicate()
    eventually(lambda: not any(map(_serves, pids)), "the workers are gone", seconds=2.0)


def _serves(pid: str) -> bool:
    try:
        return psutil.Process(int(pid)).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def test_a_run_that_outlives_its_program_has_its_world(project: Project, yard: Stage) -> None:
    project.write(
        {
            "models.py": "class Order:\n    number = 7\n",
            "main.py": """
            import os, time
            from models import Order
            from taskyard import task

            class Own:
                limit = 3

            @task
            def later(order, own):
                deadline = time.monotonic() + 30
                while not os.path.exists("go") and time.monotonic() < deadline:
                    time.sleep(0.02)
                import models
                found = order.number, type(order) is models.Order, type(own) is Own, os.environ["COLOUR"]
                with open("done.part", "w") as file:
                    print(*found, end="", file=file)
                os.rename("done.part", "done")

            later.delay(Order(), Own())
            """,
        }
    )
    project.agents("main.py", COLOUR="red")
    (project.root / "go").touch()
    done = project.root / "done"
    eventually(done.exists, "the run has ended")
    assert done.read_text() == "7 True True red"


def test_a_world_that_cannot_be_described_is_said_and_tasks_run_all_the_same(yard: Stage) -> None:
    project = Project(yard, yard.home / "undescribed")
    project.write(
        {
            "main.py": """
            from taskyard import flow, task

            @task
            def one():
                return 1

            @flow
            def program():
                return one()

            print(program())
            """
        }
    )
    project.agents("main.py")
    worlds, aside = yard.home / "worlds", yard.home / "worlds.aside"
    worlds.rename(aside)
    worlds.write_text("in the way")
    try:
        process = project.start("main.py", TASKYARD_LOG_LEVEL="WARNING")
        out, err = process.communicate(timeout=30)
    except subprocess.TimeoutExpired:
        process.kill()
        raise
    finally:
        worlds.unlink()
        aside.rename(worlds)
    assert out == "1\n"
    assert f"what workers need to know of this program cannot be written to {worlds}" in err
