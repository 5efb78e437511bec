"""What the control plane does not serve yet can be imported, and a call of it says what to do instead."""

import asyncio
import re
import subprocess
import sys
from typing import Any

import pytest

from taskyard import flow
from taskyard._prefect_names import reasons
from taskyard.exceptions import NotSupported

WHERE = " (see docs/coming-from-prefect.md)"


@flow
def main() -> None: ...


@flow
async def later() -> None: ...


DEPLOYING = [
    "import taskyard; taskyard.serve(main)",
    "import taskyard; taskyard.aserve(main)",
    "import taskyard; taskyard.deploy(main, work_pool_name='x')",
    "from taskyard.flows import serve; serve(main)",
    "main.serve(name='x', cron='* * * * *')",
    "main.aserve()",
    "main.deploy('x', work_pool_name='y')",
    "main.adeploy('x')",
    "main.to_deployment('x')",
    "main.ato_deployment('x')",
    "later.serve()",
    "from taskyard.deployments import run_deployment; run_deployment('a/b', timeout=0)",
    "from taskyard.deployments import arun_deployment; arun_deployment('a/b')",
    "from taskyard.deployments import adeploy; adeploy(main)",
    "from taskyard.events import DeploymentEventTrigger; DeploymentEventTrigger(expect=['x'])",
]
PAUSING = [
    *(
        f"from taskyard import {name}; {name}({arguments})"
        for verb, arguments in [("pause", "timeout=1"), ("suspend", "timeout=1"), ("resume", "'an id'")]
        for name in (f"{verb}_flow_run", f"a{verb}_flow_run")
    ),
    "from taskyard.flow_runs import pause_flow_run; pause_flow_run(wait_for_input=int)",
    "from taskyard.input import send_input; send_input(1, 'an id')",
    "from taskyard.input import receive_input; receive_input(int, timeout=1)",
    "from taskyard.input import RunInput; RunInput.receive()",
    "from taskyard.input import RunInput; RunInput().send_to('an id')",
    "from taskyard.input import RunInput; RunInput().respond(RunInput())",
    "from taskyard.input import RunInput; RunInput.save(RunInput.keyset_from_type())",
    "from taskyard.input import RunInput; RunInput.load(RunInput.keyset_from_type())",
    "from taskyard.input import GetInputHandler; GetInputHandler(int)",
]
LIMITS = [
    "from taskyard.concurrency.sync import concurrency; concurrency('db', occupy=1)",
    "from taskyard.concurrency.sync import rate_limit; rate_limit(['db'])",
    "from taskyard.concurrency.asyncio import concurrency; concurrency('db', occupy=1)",
    "from taskyard.concurrency.asyncio import rate_limit; rate_limit(['db'])",
]
EVENTS = [
    "from taskyard.events import emit_event; emit_event('x', {'taskyard.resource.id': 'y'})",
    "from taskyard.events import get_events_client; get_events_client()",
    "from taskyard.events import get_events_subscriber; get_events_subscriber()",
    "from taskyard.events import EventTrigger; EventTrigger(expect=['x'])",
    "from taskyard.automations import Automation; Automation(name='x')",
    "from taskyard.automations import Automation; Automation.read(name='x')",
    "from taskyard.automations import Automation; Automation.aread(name='x')",
    "from taskyard.events.actions import RunDeployment; RunDeployment()",
]
PROFILES = [
    "from taskyard.settings import load_profiles; load_profiles()",
    "from taskyard.settings import load_profile; load_profile('x')",
    "from taskyard.settings import load_current_profile; load_current_profile()",
    "from taskyard.settings import save_profiles; save_profiles(None)",
    "from taskyard.settings import update_current_profile; update_current_profile({})",
    "from taskyard.settings import Profile; Profile(name='x')",
    "from taskyard.settings import ProfilesCollection; ProfilesCollection([])",
    "from taskyard.context import use_profile; use_profile('x')",
]
ALL = [
    *((program, reasons.DEPLOY) for program in DEPLOYING),
    *((program, reasons.PAUSE) for program in PAUSING),
    *((program, reasons.LIMITS) for program in LIMITS),
    *((program, reasons.EVENTS) for program in EVENTS),
    *((program, reasons.PROFILES) for program in PROFILES),
]


@pytest.mark.parametrize(("program", "why"), ALL)
def test_the_call_is_refused_by_name_and_the_import_is_not(program: str, why: str) -> None:
    names: dict[str, Any] = {"main": main, "later": later}
    *imports, call = program.split("; ")
    for statement in imports:
        exec(statement, names)
    with pytest.raises(NotSupported) as refused:
        exec(call, names)
    assert str(refused.value).endswith(f" cannot be used: {why}{WHERE}")
    assert any(name in str(refused.value) for name in re.findall(r"(\w+)\(", call))
    assert isinstance(refused.value, NotImplementedError)


def test_a_program_that_only_names_them_runs() -> None:
    program = """
from taskyard import flow, pause_flow_run, serve, deploy
from taskyard.automations import Automation, EventTrigger
from taskyard.concurrency.asyncio import concurrency as aconcurrency
from taskyard.concurrency.sync import AcquireConcurrencySlotTimeoutError, concurrency, rate_limit
from taskyard.deployments import run_deployment
from taskyard.events import Event, emit_event
from taskyard.input import RunInput
from taskyard.runtime import deployment
from taskyard.schedules import Cron, Interval

def fire(trigger: EventTrigger | None) -> Automation | None: ...

class Answer(RunInput):
    name: str = "?"

if deployment.id is not None:
    serve(fire)
print(Answer().name, Cron("0 * * * *").cron, deployment.parameters)
"""
    said = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert (said.stdout, said.stderr) == ("? 0 * * * * {}\n", "")


def test_without_names_there_is_nothing_to_limit() -> None:
    from taskyard.concurrency import asyncio as of_loops
    from taskyard.concurrency import sync

    with sync.concurrency([]):
        sync.rate_limit([])

    async def nothing() -> None:
        async with of_loops.concurrency([]):
            await of_loops.rate_limit([])

    asyncio.run(nothing())


def test_a_class_that_cannot_be_made_can_be_derived_from() -> None:
    from taskyard.events import EventTrigger

    class Own(EventTrigger):
        pass

    with pytest.raises(NotSupported, match=r"Own\(\.\.\.\) cannot be used"):
        Own()
    assert not isinstance(object(), EventTrigger)
