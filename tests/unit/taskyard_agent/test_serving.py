"""What a process says of the tasks that it serves."""

import sys
from types import ModuleType

import pytest

from taskyard_agent.runner.serving import MOST_OFFER_BYTES, Registry
from taskyard_api.v1 import agent_service_pb2 as pb
from taskyard_contract.execution import TaskCode


class Described:
    """A task about which much can be said."""

    def __init__(self, name: str) -> None:
        self.name = name

    def code_for_workers(self) -> TaskCode:
        raise NotImplementedError

    def offer(self) -> pb.TaskOffer:
        schema = "s" * 16_000
        return pb.TaskOffer(
            name=self.name, description="d" * 8_000, parameter_schema=schema, result_schema=schema
        )


def test_offers_that_do_not_fit_a_hello_keep_their_names(monkeypatch: pytest.MonkeyPatch) -> None:
    module = ModuleType("much_described")
    for number in range(1_000):
        setattr(module, f"task_{number}", Described(f"task {number}"))
    monkeypatch.setitem(sys.modules, module.__name__, module)
    registry = Registry()
    registry.serve([module.__name__])
    offers = registry.offers()
    assert len({offer.name for offer in offers}) == 1_000
    assert offers[0].description
    assert offers[0].parameter_schema
    assert sum(offer.ByteSize() for offer in offers) < 1.1 * MOST_OFFER_BYTES
