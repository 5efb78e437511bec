"""How long what is over is kept: as options and variables say it."""

import argparse
from math import inf

import pytest

from taskyard_contract.states import RunState
from taskyard_controlplane.owner.retention.policy import DAY_US, FOR_EVER, Policy
from taskyard_controlplane.retention_options import OPTIONS, add_options, retention_of
from taskyard_controlplane.settings import InvalidSettings, RetentionSettings

USUAL = RetentionSettings()


def read(*arguments: str, usual: RetentionSettings = USUAL) -> RetentionSettings:
    parser = argparse.ArgumentParser()
    add_options(parser)
    return retention_of(parser.parse_args(arguments), usual)


@pytest.fixture(autouse=True)
def nothing_said(monkeypatch: pytest.MonkeyPatch) -> None:
    for option in OPTIONS.values():
        monkeypatch.delenv(option.variable, raising=False)


def test_what_is_usual_holds_where_nothing_is_said() -> None:
    assert read() == USUAL
    assert read(usual=RetentionSettings(home_bytes=5)).home_bytes == 5
    assert USUAL.policy() == Policy()


def test_an_option_says_more_than_a_variable(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TASKYARD_RETENTION_RUNS", "7d")
    monkeypatch.setenv("TASKYARD_RETENTION_MAX_SIZE", "1GB")
    found = read("--retention-runs", "0", "--retention-logs", "never")
    assert (found.runs_seconds, found.logs_seconds, found.home_bytes) == (0, inf, 10**9)
    assert found.policy().logs_us == FOR_EVER
    assert read().runs_seconds == 7 * 86_400


def test_states_have_times_of_their_own() -> None:
    found = read("--retention-states", "failed=90d, crashed=never")
    assert found.states == {RunState.FAILED: 90 * 86_400, RunState.CRASHED: inf}
    policy = found.policy()
    assert policy.kept_for(RunState.FAILED) == 90 * DAY_US
    assert policy.kept_for(RunState.COMPLETED) == 30 * DAY_US == policy.shortest


@pytest.mark.parametrize(
    ("option", "value", "why"),
    [
        ("runs", "30", "no length of time"),
        ("states", "running=1d", "no state in which runs end"),
        ("states", "failed", "no length of time"),
        ("keep-last", "-1", "no number of runs"),
        ("max-size", "10", "no amount of bytes"),
    ],
)
def test_what_makes_no_sense_is_refused(
    option: str, value: str, why: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(InvalidSettings, match=f"--retention-{option}: .*{why}"):
        read(f"--retention-{option}={value}")
    monkeypatch.setenv(f"TASKYARD_RETENTION_{option.upper().replace('-', '_')}", value)
    with pytest.raises(InvalidSettings, match="TASKYARD_RETENTION_"):
        read()
