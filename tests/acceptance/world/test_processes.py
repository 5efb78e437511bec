"""Processes that tasks start find the code of the program: all ways of multiprocessing, and pickle itself."""

import pytest
from support.projects import Project, right

POOLS = """
import concurrent.futures, multiprocessing, pickle
from taskyard import flow, task
{imports}

class Point:
    def __init__(self, x):
        self.x = x
    def __eq__(self, other):
        return type(other) is Point and other.x == self.x
    __hash__ = None

FACTOR = 2

def scaled(x):
    return x * FACTOR

def made(x):
    return Point(x)

@task
def pools(method):
    context = multiprocessing.get_context(method)
    with context.Pool(2) as pool:
        by_pool = pool.map(scaled, [1, 2]) == [2, 4] and pool.map(made, [1]) == [Point(1)]
    with concurrent.futures.ProcessPoolExecutor(1, mp_context=context) as executor:
        by_executor = executor.submit(made, 2).result() == Point(2)
    return by_pool, by_executor

@task
def pickles():
    back = pickle.loads(pickle.dumps([Point(3), scaled, Point]))
    return back == [Point(3), scaled, Point]

@flow
def program(method):
    assert pickles()
    return pools(method)
"""
STARTS = """
import sys

if __name__ == "__main__":
    print(program(sys.argv[1]))
"""


@pytest.mark.parametrize("method", ["fork", "spawn", "forkserver"])
def test_pools_with_the_code_of_a_script(project: Project, method: str) -> None:
    project.write({"main.py": POOLS.format(imports="") + STARTS})
    assert project.agents("main.py", method) == "(True, True)\n"


@pytest.mark.parametrize("method", ["spawn", "forkserver"])
def test_pools_with_the_code_of_a_package_that_is_started_as_a_module(project: Project, method: str) -> None:
    project.write(
        {
            "app/__init__.py": "",
            "app/other.py": "",
            "app/main.py": POOLS.format(imports="from . import other") + STARTS,
        }
    )
    assert project.agents("-m", "app.main", method) == "(True, True)\n"


@pytest.mark.parametrize("method", ["fork", "spawn"])
def test_pools_with_the_code_of_a_module(project: Project, method: str) -> None:
    project.write(
        {
            "work.py": POOLS.format(imports=""),
            "main.py": "import sys\nfrom work import program\n"
            'if __name__ == "__main__":\n    print(program(sys.argv[1]))',
        }
    )
    assert project.agents("main.py", method) == "(True, True)\n"


def test_what_python_says_of_the_code_of_a_script(project: Project) -> None:
    right(
        project,
        """
        import inspect, os, sys, traceback, typing

        class Point:
            def method(self):
                raise ValueError("of a method")

        def function(x: "Point", y: "list[Point | None]" = None) -> "typing.Optional[Point]":
            return x

        @task
        def look():
            return (
                inspect.getsource(function).startswith('def function(x: "Point"'),
                inspect.getsource(Point).endswith('raise ValueError("of a method")\\n'),
                typing.get_type_hints(function)["y"] == list[Point | None],
                __file__ == os.path.abspath(sys.argv[0]) == sys.modules["__main__"].__file__,
                function.__module__ == __name__ == "__main__" and function.__globals__ is globals(),
            )

        @task
        def fails():
            Point().method()

        def trace():
            try:
                run(fails)
            except ValueError as error:
                text = "".join(traceback.format_exception(error)) + "".join(getattr(error, "__notes__", []))
                return 'cases.py", line' in text and 'raise ValueError("of a method")' in text

        case("look", lambda: run(look))
        case("trace", trace)
        """,
    )


def test_a_child_of_a_task_ends_as_any_process(project: Project) -> None:
    right(
        project,
        """
        import os, signal, subprocess, sys, time

        def ended(pid):
            return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])

        @task
        def by_signal():
            pid = os.fork()
            if pid == 0:
                while True:
                    time.sleep(1)
            os.kill(pid, signal.SIGTERM)
            return ended(pid) == -signal.SIGTERM

        @task
        def by_exec():
            code = "import os; print(os.getcwd())"
            done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
            return done.stdout.strip() == os.getcwd()

        case("exec", lambda: run(by_exec))
        if os.environ["TASKYARD_TASK_RUNNER"] == "agents":  # threads share their process with the flow
            case("signal", lambda: run(by_signal))
        else:
            case("signal", lambda: True)
        """,
    )


def test_pools_of_a_task_end_whenever_they_are_ended(project: Project) -> None:
    right(
        project,
        """
        import multiprocessing

        fork = multiprocessing.get_context("fork")

        def same(x):
            return x

        @task
        def pools():
            for n in range(60):  # of some of these the last processes have hardly begun
                with fork.Pool(3) as pool:
                    assert pool.map(same, [n]) == [n]
            return True

        case("pools", lambda: run(pools))
        """,
    )


def test_a_task_that_forks_has_the_signals_blocked_that_it_has_blocked(project: Project) -> None:
    right(
        project,
        """
        import os, signal

        def blocked():
            return signal.SIGTERM in signal.pthread_sigmask(signal.SIG_BLOCK, ())

        def child_has():
            pid = os.fork()
            if pid == 0:
                os._exit(int(blocked()))
            return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 1

        @task
        def forks():
            plain = child_has(), blocked()
            signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})
            try:
                return plain == (False, False) and child_has() and blocked()
            finally:
                signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGTERM})

        case("forks", lambda: run(forks))
        """,
    )


def test_each_worker_draws_its_own_random_numbers(project: Project) -> None:
    """What ``from random import ...`` gives is the module's, which does not travel with its generator."""
    project.write(
        {
            "main.py": """
            import time
            from pathlib import Path
            from random import getrandbits, randint
            from taskyard import flow, task

            @task
            def draw(own, other):
                Path(own).touch()
                while not Path(other).exists():
                    time.sleep(0.01)
                return randint(0, 2**60), getrandbits(60)

            @flow
            def program():
                return [one for both in draw.map(["a", "b"], ["b", "a"]).result() for one in both]

            print(len(set(program())))
            """
        }
    )
    process = project.start("main.py", TASKYARD_LOG_LEVEL="WARNING")
    printed, logged = process.communicate(timeout=60)
    assert (printed, logged) == ("4\n", "")
