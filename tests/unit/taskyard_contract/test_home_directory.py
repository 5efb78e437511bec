"""All programs find the same directory."""

from pathlib import Path

import pytest

from taskyard import settings
from taskyard_agent.settings import home
from taskyard_contract.programs.home_directory import (
    HOME,
    HomeUnusable,
    database_url,
    home_directory,
    yard_address,
)
from taskyard_controlplane.settings import YardSettings
from taskyard_controlplane.storage.engine import parse_url


@pytest.fixture(autouse=True)
def of_a_person(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.parametrize(
    ("said", "found"),
    [
        ({}, ".taskyard"),
        ({HOME: ""}, ".taskyard"),
        ({HOME: "~/yards/one"}, "yards/one"),
        ({HOME: "yards/two"}, "yards/two"),
        ({"HOME": "/elsewhere"}, ".taskyard"),
    ],
)
def test_the_environment_says_where(of_a_person: Path, said: dict[str, str], found: str) -> None:
    assert home_directory(said) == of_a_person / found


def test_an_absolute_directory_is_taken_as_it_is() -> None:
    assert home_directory({HOME: "/srv/taskyard"}) == Path("/srv/taskyard")


@pytest.mark.parametrize("said", ["", "~/here", "there", "/srv/yard"])
def test_all_programs_go_to_the_same_directory(monkeypatch: pytest.MonkeyPatch, said: str) -> None:
    monkeypatch.setenv(HOME, said)
    assert settings.home() == home() == home_directory({HOME: said})


def test_the_yard_listens_where_the_sdk_looks(tmp_path: Path) -> None:
    assert YardSettings(tmp_path, 1).address == yard_address(tmp_path)


@pytest.mark.parametrize("name", ["a b", "100%", "x%20y", "what?", "no#1", "ünï", "a:b", "it's", "\udcff"])
def test_the_database_of_a_home_lies_in_it_whatever_its_name(tmp_path: Path, name: str) -> None:
    assert parse_url(database_url(tmp_path / name / "t.db")).path == tmp_path / name / "t.db"


def test_without_a_home_the_variable_is_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    def homeless(path: Path) -> Path:
        raise RuntimeError("Could not determine home directory.")

    monkeypatch.setattr(Path, "expanduser", homeless)
    with pytest.raises(HomeUnusable, match=f"no home directory; set {HOME}"):
        home_directory({})
