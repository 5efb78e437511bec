"""What the documentation of Prefect 1 and 3 shows and this release cannot do: each says so, in these words.

The programs are our own, and make the calls that are shown there. Whoever builds a feature takes its lines
from here and writes its example in tests/acceptance/prefect.
"""

from typing import Final

import pytest

from taskyard.exceptions import NotSupported

PAGE: Final = " (see docs/coming-from-prefect.md)"
DEPLOYMENTS: Final = (
    "deployments and schedules are not in this release; start the program itself, from cron or a service"
    " manager"
)
GRAPHS: Final = (
    "Prefect 1's graphs (with Flow(...), Parameter, triggers) are not in this release; write a function"
    " and decorate"
    " it with @flow: calls inside it are the graph"
)
TASK_CLASS: Final = (
    "Prefect 1's Task classes with run() are not in this release; decorate a function, or a method, with"
    " @task"
)
CONTEXT: Final = (
    "Prefect 1's context is not here, by design; see taskyard.get_run_logger() for the logger, and"
    " taskyard.runtime.task_run and taskyard.runtime.flow_run for ids, names, parameters and run_count"
)
ENGINE: Final = (
    "cannot import 'taskyard.engine': what Prefect 1 has in its engine (TaskRunner, signals, results) is"
    " not in this"
    " release; states are in taskyard.states, task.fn(...) calls the function, and"
    " flow(return_state=True) returns a"
    " state"
)
BEGIN: Final = """
from taskyard import Flow, Task, flow, task

@task
def one():
    return 1

@flow
def main():
    return one()
"""

PREFECT_3: Final = {
    "from taskyard.task_worker import create_status_server": (
        "cannot import name 'create_status_server' from 'taskyard.task_worker': give serve() a"
        " status_server_port; TaskWorker.status() returns what is answered there"
    ),
    "task(assets=['s3://x'])(one.fn)": (
        "task 'one' cannot have the option 'assets': tasks that make assets are decorated with"
        " @materialize(...) here, of taskyard.assets"
    ),
    "from taskyard.filesystems import SMB": (
        "cannot import 'taskyard.filesystems.SMB': files of Windows shares are not in this release; mount"
        " the share, and use LocalFileSystem with the path"
    ),
    "main.serve()": f"main.serve(...) cannot be used: {DEPLOYMENTS}",
    "from taskyard import serve\nserve(main)": f"taskyard.serve(...) cannot be used: {DEPLOYMENTS}",
    "from taskyard.deployments import run_deployment\nrun_deployment('x/y')": (
        f"taskyard.deployments.run_deployment('x/y') cannot be used: {DEPLOYMENTS}"
    ),
}
PREFECT_1: Final = {
    "class Add(Task):\n    def run(self, x, y):\n        return x + y\nAdd(name='Add')": (
        f"'fn' must be callable, got nothing: {TASK_CLASS}"
    ),
    "one.run()": (
        "a task has no attribute 'run': call the task itself, which records a run, or .fn(...), the bare"
        " function, as"
        " tests do"
    ),
    "import taskyard; taskyard.context['logger']": (
        f"'taskyard.context' is a module, no dictionary: {CONTEXT}"
    ),
    "from taskyard.engine import TaskRunner": ENGINE,
    "from taskyard.engine.state import Failed": ENGINE,
    "from taskyard.core import Edge": f"cannot import 'taskyard.core': {GRAPHS}",
    "Flow('example')": f"'fn' must be callable, got str: {GRAPHS}",
    "with Flow('example') as f:\n    one()": f"'fn' must be callable, got str: {GRAPHS}",
    "main.add_task(one)": f"a flow has no attribute 'add_task': {GRAPHS}",
    "main.set_dependencies(one, keyword_tasks={'x': 1})": (
        f"a flow has no attribute 'set_dependencies': {GRAPHS}"
    ),
    "main.run()": (
        "a flow has no attribute 'run': call the flow itself, or with return_state=True to get its state"
        " as Prefect 1"
        " does"
    ),
    "from taskyard import Parameter": (
        "cannot import 'taskyard.Parameter': Prefect 1's graphs are not in this release; parameters are"
        " those of the"
        " function that @flow decorates"
    ),
    "from taskyard.tasks.core.constants import Constant": f"cannot import 'taskyard.tasks.core': {GRAPHS}",
    "task(state_handlers=[print])(one.fn)": (
        "task 'one' cannot have the option 'state_handlers': state handlers are hooks here: on_running,"
        " on_completion"
        " and on_failure, called with task, run and state; what they return does not change the state"
    ),
    "one.fn and one(upstream_tasks=[one])": (
        "cannot bind the arguments of 'one': got an unexpected keyword argument 'upstream_tasks'. Its"
        " signature is"
        " '()', but it received 0 positional arguments and the keywords ['upstream_tasks']."
        " 'upstream_tasks': it is"
        " wait_for=[...] here"
    ),
    "one(task_args={'name': 'new'})": (
        "cannot bind the arguments of 'one': got an unexpected keyword argument 'task_args'. Its"
        " signature is '()', but"
        " it received 0 positional arguments and the keywords ['task_args']. 'task_args': it is"
        " task.with_options(...)(...) here"
    ),
    "from taskyard.utilities.tasks import defaults_from_attrs": (
        "cannot import 'taskyard.utilities.tasks': Prefect 1's helpers for graphs are not in this"
        " release; task and tags"
        " are in taskyard itself"
    ),
}


@pytest.mark.usefixtures("session")
@pytest.mark.parametrize("program", [*PREFECT_1, *PREFECT_3])
def test_it_says_so(program: str) -> None:
    with pytest.raises((ImportError, AttributeError, TypeError, NotSupported)) as refused:
        exec(BEGIN + program, {"__name__": "example"})
    assert str(refused.value) == {**PREFECT_1, **PREFECT_3}[program] + PAGE
