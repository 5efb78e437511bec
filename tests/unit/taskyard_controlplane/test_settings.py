"""Settings are checked when they are made, and never show a password."""

from pathlib import Path

import pytest

from taskyard_controlplane.settings import (
    DatabaseSettings,
    InvalidSettings,
    LeaseSettings,
    RpcSettings,
    YardSettings,
)


def test_a_database_url_of_another_kind_is_refused_without_its_password() -> None:
    with pytest.raises(InvalidSettings, match="is not a database URL") as caught:
        DatabaseSettings("mysql://me:s3cret@host/db")
    assert "s3cret" not in str(caught.value)


@pytest.mark.parametrize("seconds", [0, -1])
def test_a_lease_needs_some_time(seconds: float) -> None:
    with pytest.raises(InvalidSettings, match="lease"):
        LeaseSettings(agent_lease_seconds=seconds)


def test_several_heartbeats_fit_into_a_lease() -> None:
    lease = LeaseSettings(agent_lease_seconds=30, session_lease_seconds=12)
    assert (lease.agent_heartbeat_seconds, lease.session_heartbeat_seconds) == (5, 2)


def test_limits_must_be_positive() -> None:
    with pytest.raises(InvalidSettings, match="max_page_size"):
        RpcSettings(max_page_size=0)


def test_a_yard_keeps_everything_in_its_home() -> None:
    settings = YardSettings(home=Path("/home/me/.taskyard"), slots=2).server_settings()
    assert settings.rpc.listen == "unix:/home/me/.taskyard/yard.sock"
    assert settings.database.url == "sqlite:////home/me/.taskyard/taskyard.db"


def test_a_yard_needs_a_slot() -> None:
    with pytest.raises(InvalidSettings, match="slots"):
        YardSettings(home=Path("/tmp"), slots=0)
