import socket

import pytest
from support.fake_services import make_run, run_id

from taskyard_contract.states import RunState


@pytest.mark.parametrize(
    ("after", "said"),
    [
        (RunState.CANCELLING, "add-1 is Cancelling\n"),
        (RunState.CANCELLED, "add-1 is Cancelled\n"),
        (RunState.COMPLETED, "add-1 ended before it could be cancelled: Completed\n"),
    ],
)
def test_the_state_afterwards_is_said(services, call, after, said):
    services.runs = [make_run(1, state=RunState.RUNNING)]
    services.cancelled_state = after
    called = call("run", "cancel", "add-1")
    assert (called.code, called.out) == (0, said)
    assert services.asked[-1].run_id == run_id(1)


def test_a_run_that_has_ended_is_left_alone(services, call):
    services.runs = [make_run(1, state=RunState.FAILED)]
    called = call("run", "cancel", "add-1")
    assert (called.code, called.out) == (0, "add-1 has ended already: Failed\n")
    assert not any(hasattr(asked, "run_id") for asked in services.asked)


def test_a_run_nobody_knows_is_1(call):
    assert call("run", "cancel", "add-1").code == 1


def test_who_asks_and_why_goes_along(services, call):
    services.runs = [make_run(1, state=RunState.RUNNING)]
    call("run", "cancel", "add-1", "--reason", "wrong input")
    assert services.asked[-1].reason == "wrong input"
    user, _, host = services.asked[-1].requested_by.partition("@")
    assert user
    assert host == socket.gethostname()


def test_somebody_without_a_name_asks_as_well(services, call, monkeypatch):
    def nobody():
        raise OSError("no username set in the environment")

    monkeypatch.setattr("getpass.getuser", nobody)
    services.runs = [make_run(1, state=RunState.RUNNING)]
    assert call("run", "cancel", "add-1").code == 0
    assert services.asked[-1].requested_by == f"somebody@{socket.gethostname()}"
