"""Values and context variables are the same with agents and with threads, whatever kind they are."""

from support.programs import Stage

SHARED = """
import threading
from taskyard import flow, runtime, task

@task
def make():
    return [1]

@task
def push(values, n):
    values.append(n)
    return list(values)

@task(retries=1)
def fails_once(values):
    values.append("x")
    if runtime.task_run.run_count == 1:
        raise ValueError
    return list(values)

@task
def total(batch):
    return sum(batch)

@flow
def changes():
    up, mine = make.submit(), [0]
    pushed = push.submit(up, 2).result(), push.submit(up, 3).result(), push(up, 4), up.result()
    got = up.result()
    got.append(9)
    batch, totals = [], []
    for n in range(6):
        batch.append(n)
        if len(batch) == 2:
            totals.append(total.submit(batch))
            batch.clear()
    tried = fails_once.submit(mine).result(), push(mine, 1), mine
    return *pushed, push.submit(up, 5).result(), *tried, [one.result() for one in totals]

print("RESULT", changes())
"""
CHANGED = "([1, 2], [1, 3], [1, 4], [1, 9], [1, 5], [0, 'x'], [0, 1], [0], [1, 5, 9])"
ODD = """
import dataclasses
from typing import Any
from taskyard import flow, task

@dataclasses.dataclass
class NoInit:
    value: Any
    extra: int = dataclasses.field(init=False, default=0)
    def __post_init__(self):
        self.extra += 1

class MyDict(dict):
    def __init__(self, name, **more):
        super().__init__(**more)
        self.name = name

class Node:
    def __init__(self, value):
        self.value, self.peers = value, [self]

@task
def one(n):
    return n

@task
def show(value):
    if isinstance(value, NoInit):
        return type(value).__name__, value.value, value.extra
    if isinstance(value, dict):
        return type(value).__name__, dict(value), value.name
    return type(value).__name__, value.value, value.peers[0] is value

@task
def ring(values, table):
    return values[0] is values, table["me"] is table

@flow
def shows():
    kinds = (NoInit, lambda x: MyDict("n", a=x), Node)
    values, table = [], {}
    values.append(values)
    table["me"] = table
    plain = [show.submit(kind(1)).result() for kind in kinds]
    waiting = [show.submit(kind(one.submit(1))).result() for kind in kinds]
    return plain == waiting, plain, ring.submit(values, table).result()

print("RESULT", shows())
"""
ODD_SHOWN = "(True, [('NoInit', 1, 1), ('MyDict', {'a': 1}, 'n'), ('Node', 1, True)], (True, True))"
NAMES = """
from taskyard import flow, task

NAMES = ("args", "kwargs", "name", "task", "deferred", "scope", "session", "queue", "call", "self", "options")

def mapped(named, name, value):
    return named.map(**{name: [value]}).result()

def attempt(name):
    space = {}
    exec(f"def t({name}, other=1): return {name} + other", space)
    named = task(space["t"])
    inner = flow(lambda **kw: (named(**kw), named.submit(**kw).result(), *mapped(named, name, kw[name])))
    exec(f"def g({name}): return {name}", space)
    return inner(**{name: 2}), flow(space["g"])(**{name: 5})

for name in NAMES:
    assert attempt(name) == ((3, 3, 3), 5), (name, attempt(name))
print("RESULT")
"""
CONTEXTS = """
import asyncio, contextvars, decimal
from taskyard import flow, tags, task
from taskyard.context import FlowRunContext, current_tags
from taskyard.task_runners import ThreadPoolTaskRunner

request = contextvars.ContextVar("request", default="none")

@task
def read(_=0):
    seen = request.get()
    request.set("changed")
    return seen

@task
async def aread():
    return read.fn()

@task
def precision():
    seen, decimal.getcontext().prec = decimal.getcontext().prec, 3
    return seen

@task
def around():
    return FlowRunContext.get(), sorted(current_tags())

@flow(task_runner=ThreadPoolTaskRunner)
def synchronous():
    request.set("r1")
    decimal.getcontext().prec = 7
    with tags("mine"):
        apart = around(), around.submit().result()
    return (
        {read(), read(), read.submit().result(), aread.submit().result(), *read.map([1, 2]).result()},
        {precision(), precision(), precision.submit().result(), decimal.getcontext().prec},
        apart,
    )

@flow(task_runner=ThreadPoolTaskRunner)
async def asynchronous():
    request.set("r2")
    return {read(), await aread(), *(await asyncio.gather(aread(), aread.submit())), request.get()}

print("RESULT", synchronous(), asyncio.run(asynchronous()))
"""


def result_of(yard: Stage, source: str) -> str:
    """Run a program; what it printed after RESULT."""
    done = yard.run_script(source)
    assert done.returncode == 0, done.stderr
    return done.stdout.removeprefix("RESULT").strip()


def test_what_a_task_changes_is_its_own(yard: Stage, runner: str):
    assert result_of(yard, SHARED) == CHANGED


def test_values_with_odd_constructors_and_values_in_a_circle_arrive_whole(yard: Stage, runner: str):
    assert result_of(yard, ODD) == ODD_SHOWN


def test_parameters_may_have_the_names_that_the_library_uses(yard: Stage, runner: str):
    assert result_of(yard, NAMES) == ""


def test_context_variables_of_the_flow_are_seen_in_threads_and_each_run_changes_its_own(yard: Stage):
    apart = "((None, []), (None, []))"
    assert result_of(yard, CONTEXTS) == f"({{'r1'}}, {{7}}, {apart}) {{'r2'}}"
