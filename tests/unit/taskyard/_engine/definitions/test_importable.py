"""Code of the user's own files travels by value, installed code by reference."""

import json
import textwrap
from typing import Any

import pytest
from support.loopback import LoopbackSession

from taskyard._engine.definitions.importable import reference_of
from taskyard._engine.submission.submitting import submit_one
from taskyard._engine.submission.templates import INLINE_CODE_BYTES, task_template
from taskyard.exceptions import NotPicklable, PayloadTooLarge
from taskyard.tasks import Task, task
from taskyard_contract import pickling
from taskyard_contract.blobs.names import sha256_name

BIG = b""


@task
def uses_big() -> int:
    return len(BIG)


def test_installed_functions_are_named() -> None:
    assert reference_of(textwrap.dedent) == "textwrap:dedent"
    assert reference_of(json.JSONDecoder.decode) == "json.decoder:JSONDecoder.decode"


def test_own_functions_lambdas_and_closures_are_not() -> None:
    assert reference_of(uses_big.fn) is None
    assert reference_of(lambda: 1) is None


@pytest.mark.parametrize("name", ["", ".", "dedent.", "no_such_name", "dedent.inner"])
def test_functions_under_names_that_lead_nowhere_travel_by_value(name: str) -> None:
    def renamed() -> int:
        return 1

    renamed.__module__, renamed.__qualname__ = "textwrap", name
    assert reference_of(renamed) is None
    assert pickling.loads(pickling.dumps_by_value(task(name="renamed")(renamed))).fn() == 1


def test_a_task_travels_with_its_options() -> None:
    of = task(retries=2, tags=["a"], name="other")(lambda x: x + 1)
    back: Task[..., Any] = pickling.loads(pickling.dumps_by_value(of))
    assert (back.name, back.settings.retries, back.settings.tags) == ("other", 2, {"a"})
    assert back.fn(1) == 2
    assert back.task_key == of.task_key


def test_a_task_of_an_installed_function_travels_by_reference() -> None:
    of = task(retries=1)(textwrap.dedent)
    data = pickling.dumps(of)
    assert b"textwrap:dedent" in data
    back = pickling.loads(data)
    assert back.fn is textwrap.dedent
    assert back.settings.retries == 1


def test_a_task_that_calls_itself_can_travel() -> None:
    namespace: dict[str, Any] = {"task": task, "__name__": "__main__"}
    exec("@task\ndef again(n):\n    return again.name if n else 0\n", namespace)
    back = pickling.loads(pickling.dumps_by_value(namespace["again"]))
    assert back.fn(1) == "again"


def test_code_that_refers_to_something_fixed_is_refused(session: LoopbackSession) -> None:
    import threading

    lock = threading.Lock()
    with pytest.raises(NotPicklable, match="the code of 'locked' cannot be sent"):
        submit_one(task(name="locked")(lambda: lock), session.scope(), (), {})
    assert session.script.submitted == []


def test_large_code_is_uploaded_first(session: LoopbackSession) -> None:
    ballast = b"x" * (session.max_payload_bytes // 2)
    of = task(lambda: len(ballast))
    session.in_flight.max_payload_bytes = 4 * INLINE_CODE_BYTES
    assert submit_one(of, session.scope(), (), {}).result(0) == len(ballast)
    more = b"x" * (2 * INLINE_CODE_BYTES)
    template = task_template(task(lambda: len(more)), frozenset(), False, session)
    assert template.code == b""
    assert sha256_name(template.message.code.blob_digest) in session.stored.blobs


def test_too_large_code_is_refused_with_advice(session: LoopbackSession) -> None:
    ballast = b"x" * (session.max_payload_bytes + 1)
    with pytest.raises(PayloadTooLarge, match="pass that as an argument"):
        submit_one(task(lambda: len(ballast)), session.scope(), (), {})
