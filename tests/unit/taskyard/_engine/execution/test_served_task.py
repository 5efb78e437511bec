"""A task that is called by its name: arguments are made to fit, or the run fails for good."""

from contextlib import AbstractContextManager, nullcontext
from typing import Any

import pytest
from pydantic import BaseModel, field_validator

from taskyard._engine.execution.served_task import ServedTask
from taskyard._engine.submission.templates import named_template
from taskyard.tasks import task
from taskyard_api.v1 import agent_service_pb2 as pb
from taskyard_contract.execution import Invocation
from taskyard_contract.id_factory import new_id
from taskyard_contract.log_entry import LogEntry


class Host:
    def log(self, entry: LogEntry) -> None: ...

    def blocked(self) -> AbstractContextManager[None]:
        return nullcontext()


class Order(BaseModel):
    item: str

    @field_validator("item")
    @classmethod
    def _look_up(cls, item: str) -> str:
        return {"tea": "green tea"}[item]


@task(retries=3)
def pour(order: Order) -> str:
    return order.item


def served(data: bytes) -> Any:
    """Execute one attempt with arguments in JSON."""
    invocation = Invocation(new_id(), 1, named_template(pour, frozenset()), data)
    return ServedTask(pour).execute(invocation, Host())


@pytest.mark.parametrize(
    ("item", "words"),
    [
        ('"coffee"', "cannot be checked: KeyError: 'coffee'"),
        ("1", "order.item: Input should be a valid string"),
    ],
)
def test_what_its_types_do_not_take_is_no_failure_of_the_task(item: str, words: str) -> None:
    assert served(b'{"args": [{"item": "tea"}]}') == b'"green tea"'
    report = served(f'{{"args": [{{"item": {item}}}]}}'.encode())
    assert isinstance(report, pb.ReportException)
    assert report.not_retriable
    assert report.failure.type.endswith("ParameterTypeError")
    assert words in report.message
