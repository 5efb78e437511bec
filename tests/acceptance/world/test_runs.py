"""All that a script gives to its runs, or gets from them, may be made of its own classes and functions."""

from support.projects import Project, right

BEGINNING = """
import dataclasses, enum, os, time

@dataclasses.dataclass
class Job:
    number: int

class Colour(enum.Enum):
    RED = 1

class Refused(Exception):
    def __init__(self, code, *, job):
        self.code, self.job = code, job
        super().__init__(f"refused {code}")

OFFSET = 5
"""


VALUES = """
@task
def number_of(job):
    return job.number

@task
def refuses(job):
    raise Refused(3, job=job) from ValueError("before")

@flow(log_prints=False)
def through_others():
    first = same.submit(Job(4))
    last = same.submit({"jobs": [same.submit(first)], "colour": Colour.RED}).result()
    job = last["jobs"][0]
    return job == Job(4), type(job) is Job, last["colour"] is Colour.RED

@flow(log_prints=False)
def mapped():
    jobs = [Job(number) for number in range(5)]
    return same.map(jobs).result() == jobs, number_of.map(same.map(jobs)).result() == [0, 1, 2, 3, 4]

@flow(log_prints=False)
def refused():
    try:
        refuses(Job(1))
    except Refused as error:
        return error.code == 3, error.job == Job(1), type(error) is Refused

@flow(log_prints=False)
def refused_on_the_way():
    state = same.submit(refuses.submit(Job(1))).wait() or True
    try:
        refuses.submit(Job(2)).result()
    except Refused as error:
        return error.job == Job(2), str(error) == "refused 3"

@task
def calls_tasks(count):
    jobs = [same(Job(number)) for number in range(count)]
    return (
        jobs == [Job(0), Job(1)],
        type(jobs[0]) is Job,
        same.submit(Colour.RED).result() is Colour.RED,
        number_of.map(same.map(jobs)).result() == [0, 1],
    )

@task
def default(job=Job(9), *more, key=Colour.RED, **others):
    return job == Job(9), key is Colour.RED, type(default).__name__ == "Task"

case("through others", through_others)
case("mapped", mapped)
case("refused", refused)
case("refused later", refused_on_the_way)
case("tasks that call tasks", lambda: run(calls_tasks, 2))
case("defaults", lambda: run(default))
case("code", lambda: run(same, lambda x: x + OFFSET)(1) == 6)
case("bound method", lambda: run(same, Job(3).__eq__)(Job(3)))
"""


def test_values_and_errors_on_their_way(project: Project) -> None:
    right(project, BEGINNING + VALUES)


DECIDES = """
HERE = os.getcwd() + "/" + os.environ["TASKYARD_TASK_RUNNER"]
LABEL = HERE + str(time.time())
RETRY = True

def key_of(context, parameters):
    return f"{LABEL}-{parameters['job'].number}-{type(parameters['job']) is Job}"

@task(cache_key_fn=key_of)
def cached(job):
    return Job(job.number + 1)

def again(task, run, state):
    return RETRY

@task(retries=2, retry_condition_fn=again)
def flaky(path):
    with open(path, "a") as file:
        file.write("x")
    if os.path.getsize(path) < 3:
        raise Refused(1, job=Job(1))
    return os.path.getsize(path)

def note(task, run, state):
    result = state.result(raise_on_failure=False)
    with open(HERE + ".part", "w") as file:
        file.write(f"{state.name} {type(result) is Job} {OFFSET}")
    os.rename(HERE + ".part", HERE + ".noted")

@task(on_completion=[note])
def noted(job):
    return job

@task(task_run_name=lambda: f"run-{OFFSET}")
def named():
    from taskyard.runtime import task_run
    return task_run.name

def noted_text():
    run(noted, Job(2))
    for _ in range(600):
        if os.path.exists(HERE + ".noted"):
            break
        time.sleep(0.05)
    with open(HERE + ".noted") as file:
        return file.read() == "Completed True 5"

def not_again():
    try:
        run(flaky, HERE + ".second")
    except Refused as error:
        return os.path.getsize(HERE + ".second") == 1

case("cached", lambda: (run(cached, Job(1)) == Job(2), run(cached, Job(1)) == Job(2)))
case("again", lambda: run(flaky, HERE + ".first") == 3)
RETRY = False
case("not again", not_again)
case("noted", noted_text)
case("named", lambda: run(named) == "run-5")
"""


def test_functions_that_decide_about_runs(project: Project) -> None:
    right(project, BEGINNING + DECIDES)


def test_a_main_module_with_many_classes(project: Project) -> None:
    right(
        project,
        """
        import dataclasses

        for number in range(60):
            exec(
                f"@dataclasses.dataclass\\nclass Kind{number}:\\n    x: int\\n"
                f"    def next(self): return Kind{(number + 7) % 60}(self.x)"
            )

        @task
        def follow(value):
            for _ in range(60):
                value = value.next()
            return value

        case("follow", lambda: run(follow, Kind3(1)) == Kind3(1))
        case("type", lambda: type(run(follow, Kind5(1))) is Kind5)
        """,
    )
