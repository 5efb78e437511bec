"""The numbers in the contract and the numbers in Python are the same."""

from enum import IntEnum
from typing import Any

import pytest

from taskyard_api.v1 import agent_service_pb2, errors_pb2, session_service_pb2, states_pb2
from taskyard_contract import errors, states

PAIRS = [
    (states.RunKind, states_pb2.RunKind),
    (states.RunState, states_pb2.RunState),
    (states.StateReason, states_pb2.StateReason),
    (states.WaitReason, states_pb2.WaitReason),
    (states.AgentState, states_pb2.AgentState),
    (states.Executor, states_pb2.Executor),
    (states.UpstreamKind, session_service_pb2.UpstreamKind),
    (states.FlowEvent, session_service_pb2.FlowEvent),
    (states.OutputStream, session_service_pb2.OutputStream),
    (states.ReportKind, agent_service_pb2.ReportKind),
    (errors.ErrorReason, errors_pb2.ErrorReason),
]


@pytest.mark.parametrize(("ours", "wire"), PAIRS, ids=lambda enum: getattr(enum, "__name__", ""))
def test_enums_are_equal(ours: type[IntEnum], wire: Any):
    prefix = "".join(f"_{c}" if c.isupper() else c.upper() for c in ours.__name__).lstrip("_") + "_"
    on_the_wire = {name.removeprefix(prefix): number for name, number in wire.items() if number}
    in_python = {member.name: int(member) for member in ours if member}
    assert in_python == on_the_wire


def test_every_enum_of_the_contract_is_known_here():
    modules = (states_pb2, session_service_pb2, agent_service_pb2, errors_pb2)
    in_contract = {name for module in modules for name in module.DESCRIPTOR.enum_types_by_name}
    assert in_contract == {ours.__name__ for ours, _ in PAIRS}


def test_every_reason_is_one_error():
    assert {reason for reason in errors.ErrorReason if reason} == set(errors.BY_REASON)


def test_final_states_are_those_from_a_hundred_on():
    final = {state for state in states.RunState if state >= states.FIRST_FINAL}
    assert final == {
        states.RunState.COMPLETED,
        states.RunState.FAILED,
        states.RunState.CANCELLED,
        states.RunState.CRASHED,
        states.RunState.NOT_READY,
    }
