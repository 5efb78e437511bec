"""Settings are checked when they are made, and never show a password."""

from pathlib import Path
from typing import Any

import pytest

from taskyard_controlplane.settings import (
    DatabaseSettings,
    InvalidSettings,
    LeaseSettings,
    RpcSettings,
    Settings,
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


@pytest.mark.parametrize("factor", [-0.1, 1.1, float("nan")])
def test_delays_of_retries_can_only_be_shorter(factor: float) -> None:
    database = DatabaseSettings("sqlite://")
    assert Settings(database).retry_delay_factor == 1.0
    with pytest.raises(InvalidSettings, match="retry_delay_factor must lie between 0 and 1"):
        Settings(database, retry_delay_factor=factor)


def test_a_yard_keeps_everything_in_its_home() -> None:
    settings = YardSettings(home=Path("/home/me/.taskyard"), slots=2).server_settings()
    assert settings.rpc.listen == "unix:/home/me/.taskyard/yard.sock"
    assert settings.database.url == "sqlite:////home/me/.taskyard/taskyard.db"


def test_a_yard_needs_a_slot() -> None:
    with pytest.raises(InvalidSettings, match="slots"):
        YardSettings(home=Path("/tmp"), slots=0)


@pytest.mark.parametrize(
    ("listen", "options", "address"),
    [
        ("0.0.0.0:4700", {}, "0.0.0.0:0"),
        ("[::]:4700", {}, "[::]:0"),
        ("unix:/run/t.sock", {}, ""),
        ("unix:/run/t.sock", {"data_listen": "127.0.0.1:1"}, "127.0.0.1:1"),
        ("0.0.0.0:4700", {"data_listen": "none"}, ""),
        ("0.0.0.0:4700", {"direct_transfers": False, "data_listen": "0.0.0.0:1"}, ""),
        ("0.0.0.0:4700", {"blobs": "/data"}, "0.0.0.0:0"),
        ("0.0.0.0:4700", {"blobs": "s3://bucket"}, ""),
        ("0.0.0.0:4700", {"blobs": "memory:"}, ""),
    ],
)
def test_there_is_a_data_process_where_others_may_not_see_the_directory(
    listen: str, options: dict[str, Any], address: str
) -> None:
    settings = Settings(database=DatabaseSettings("sqlite://"), rpc=RpcSettings(listen=listen), **options)
    assert settings.data_address == address
