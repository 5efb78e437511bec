"""Database URLs as people see them: what is not known to be harmless is hidden."""

import pytest

from taskyard_controlplane.storage.engine import parse_url
from taskyard_controlplane.storage.shown_urls import Secrets, shown_url


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("sqlite:///runs.db", "sqlite:///runs.db"),
        ("sqlite:////var/runs.db", "sqlite:////var/runs.db"),
        ("sqlite://", "sqlite://"),
        ("sqlite://?name=other", "sqlite://?name=other"),
        ("postgresql+psycopg://host/db", "postgresql+psycopg://host/db"),
        ("postgresql+psycopg://me@host/db", "postgresql+psycopg://***@host/db"),
        ("postgresql+psycopg://me:s3cret@host:5432/db", "postgresql+psycopg://***@host:5432/db"),
        ("postgresql://me:s3cret@[::1]:5432/db", "postgresql://***@[::1]:5432/db"),
        ("postgresql://me:s3cret@a:1,b:2/db", "postgresql://***@a:1,b:2/db"),
        ("postgresql:///db?host=/run/pg", "postgresql:///db?host=/run/pg"),
    ],
)
def test_where_a_database_is_can_be_seen(url: str, shown: str) -> None:
    assert shown_url(url) == shown


@pytest.mark.parametrize(
    "url",
    [
        "postgresql://s3cret@host/db",
        "postgresql://me:s3@s3cret@host/db",
        "postgresql://me:a?b#s3cret/c@host/db",
        "postgresql://me:s3cret",
        "postgresql://me:s3cret@[bad/x",
        "postgresql://host/db?user=s3cret&password=s3cret&sslmode=require",
        "postgresql://host/db?PASSWORD=s3cret",
        "postgresql://host/db?sslkey=/home/s3cret.pem&sslpassword=s3cret&passfile=/s3cret",
        "postgresql://host/db?options=-c%20role%3Ds3cret",
        "postgresql://host/db?s3cret",
        "postgresql://host/db#s3cret",
        "postgresql://host/db?sslmode=require#s3cret",
        "postgresql://host/db;password=s3cret",
        "sqlite://me:s3cret@/x.db",
        "sqlite:///x.db?key=s3cret",
        "me:s3cret@host/db",
        "s3cret",
        "postgresql:me:s3cret@host",
        "mysql://me:s3cret@host/db",
    ],
)
def test_what_lets_one_in_is_hidden_however_the_url_is_written(url: str) -> None:
    assert "s3cret" not in shown_url(url)


def test_a_target_shows_itself_in_the_same_way() -> None:
    target = parse_url("postgresql://me:s3cret@host/db?sslpassword=an0ther")
    assert str(target) == "postgresql+psycopg://***@host/db?sslpassword=***"


def test_secrets_are_taken_out_of_what_a_driver_says() -> None:
    secrets = Secrets("postgresql://me:s3%40cret@host/db?passfile=/home/file&sslmode=require&x=")
    said = "me could not read /home/file with s3@cret (s3%40cret), sslmode require"
    assert secrets.hide(said) == "me could not read *** with *** (***), sslmode require"
