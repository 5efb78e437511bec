"""Programs that wait say why, and so does the command line: with real processes, which wait for real."""

from support.programs import Stage, eventually

NO_AGENT_FOR_QUEUE = """
from taskyard import flow, task

@task(queue="gpu")
def train(x):
    return x

@task
def outer(x):
    return train(x)

@flow(name="one", flow_run_name="one")
def one():
    return train(1)

@flow(name="many", flow_run_name="many")
def many():
    return train.map(range(1_000)).result()

@flow(name="nested", flow_run_name="nested")
def nested():
    outer(1)
"""

SLOW = """
import time
from taskyard import flow, task

@task
def slow(x):
    time.sleep(3.5)
    return x

@flow
def waits_for_itself():
    return slow.map(range(4)).result()

print(waits_for_itself())
"""

GREEDY = """
import time
from taskyard import flow, task

@task
def slow(x):
    time.sleep(60)

@flow(flow_run_name="mighty-bittern")
def greedy():
    slow.map(range(94)).wait()

greedy()
"""

QUICK = """
from taskyard import flow, task

@task(priority=1)
def quick():
    return 1

@flow
def modest():
    return quick()

modest()
"""


def test_a_program_is_told_that_no_agent_serves_its_queue(stage: Stage):
    yard = stage.start("dev", "--slots", "2")
    yard.line()
    program = stage.start_script(f"{NO_AGENT_FOR_QUEUE}\none()\n")
    line = "Task run 'train-0' - waits: no agent serves queue 'gpu'"
    eventually(lambda: f"WARNING | {line}" in program.log, "the program says why it waits")
    (wait,) = stage.document("run", "why", "train-0")["waits"]
    assert (wait["reason"], wait["missing"]) == ("no_agent_for_queue", {"queue": "gpu"})
    assert stage.document("run", "show", "train-0")["waits"] == [wait]
    agent = stage.work("--queue", "gpu", "--server", f"unix:{stage.home}/yard.sock")
    assert program.wait() == 0
    assert program.log.count("waits") == 1
    assert agent.end() == 0
    assert yard.end() == 0


def test_a_thousand_runs_are_one_line(stage: Stage):
    program = stage.start_script(f"{NO_AGENT_FOR_QUEUE}\nmany()\n")
    line = "Flow run 'many' - 1,000 runs wait: no agent serves queue 'gpu'"
    eventually(lambda: line in program.log, "the program says why it waits")
    program.end()
    assert program.log.count("wait:") == 1


def test_what_waits_inside_of_a_task_is_told_to_the_program(stage: Stage):
    program = stage.start_script(f"{NO_AGENT_FOR_QUEUE}\nnested()\n")
    line = "Task run 'outer-0' - task run 'train-0' waits: no agent serves queue 'gpu'"
    eventually(lambda: line in program.log, "the run says why it waits")
    program.end()


def test_a_program_whose_own_runs_have_the_slots_is_told_nothing(stage: Stage):
    yard = stage.start("dev", "--slots", "2")
    yard.line()
    agents = stage.start_script(SLOW)
    threads = stage.run_script(  # they need none of the slots
        SLOW.replace("@flow", "@flow(task_runner=ThreadPoolTaskRunner(max_workers=2))").replace(
            "import flow, task", "import flow, task\nfrom taskyard.task_runners import ThreadPoolTaskRunner"
        )
    )
    assert threads.stdout == "[0, 1, 2, 3]\n", threads.stderr
    assert " wait" not in threads.stderr
    assert agents.line() == "[0, 1, 2, 3]"
    assert agents.wait() == 0
    assert " wait" not in agents.log
    assert yard.end() == 0


def test_a_program_behind_another_one_is_told_behind_which(stage: Stage):
    yard = stage.start("dev", "--slots", "2")
    yard.line()
    greedy = stage.start_script(GREEDY)
    eventually(
        lambda: len(stage.document("run", "ls", "--state", "running", "--kind", "task")) == 2,
        "it has all slots",
    )
    modest = stage.start_script(QUICK)
    line = "Task run 'quick-0' - waits: 92 runs of flow 'mighty-bittern' are ahead"
    eventually(lambda: f"INFO    | {line}" in modest.log, "the program says why it waits")
    (wait,) = stage.document("run", "why", "quick-0")["waits"]
    assert (wait["reason"], wait["ahead"], wait["priority"]) == ("queued", 92, 1)
    modest.end()
    greedy.end()
    assert yard.end() == 0
