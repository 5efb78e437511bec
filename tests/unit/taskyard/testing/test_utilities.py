"""Helpers for tests that need no yard."""

import os
import warnings

import pytest

from taskyard import settings
from taskyard.testing.utilities import assert_does_not_warn, exceptions_equal, temporary_settings


class Mine(Exception):
    pass


def test_exceptions_are_equal_by_type_and_arguments() -> None:
    same = Mine("a", 1)
    assert exceptions_equal(same, same)
    assert exceptions_equal(Mine("a", 1), Mine("a", 1))
    assert not exceptions_equal(Mine("a", 1), Mine("a", 2))
    assert not exceptions_equal(Mine("a"), ValueError("a"))


def test_a_warning_fails() -> None:
    with pytest.raises(AssertionError, match="there was a warning: UserWarning"), assert_does_not_warn():
        warnings.warn("careful", stacklevel=1)
    with assert_does_not_warn():
        pass


def test_warnings_can_be_let_through() -> None:
    with assert_does_not_warn(ignore_warnings=[DeprecationWarning]):
        warnings.warn("old", DeprecationWarning, stacklevel=1)
    with pytest.raises(AssertionError), assert_does_not_warn(ignore_warnings=[DeprecationWarning]):
        warnings.warn("careful", stacklevel=1)


def test_settings_are_others_for_a_while(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TASKYARD_OUTPUT", "off")
    monkeypatch.setenv("TASKYARD_LOG_LEVEL", "DEBUG")
    monkeypatch.delenv("TASKYARD_PROGRESS", raising=False)

    def inside() -> None:
        with temporary_settings(
            {"TASKYARD_OUTPUT": "raw", "TASKYARD_PROGRESS": "on"}, ["TASKYARD_LOG_LEVEL"]
        ):
            assert os.environ["TASKYARD_OUTPUT"] == "raw"
            assert os.environ["TASKYARD_PROGRESS"] == "on"
            assert "TASKYARD_LOG_LEVEL" not in os.environ
            os.environ["TASKYARD_OUTPUT"] = "something else"
            raise Mine

    with pytest.raises(Mine):
        inside()
    assert os.environ["TASKYARD_OUTPUT"] == "off"
    assert os.environ["TASKYARD_LOG_LEVEL"] == "DEBUG"
    assert "TASKYARD_PROGRESS" not in os.environ


def test_settings_say_on_and_off() -> None:
    with temporary_settings({"TASKYARD_PROGRESS": False, "TASKYARD_RESULTS_PERSIST_BY_DEFAULT": True}):
        assert settings.shows_progress() is False
        said = settings.results()
        assert said is not None
        assert said.persist is True


def test_a_setting_is_named_by_a_text() -> None:
    with pytest.raises(ValueError, match="is no setting"), temporary_settings({object(): 1}):  # type: ignore[dict-item]
        pass


def test_other_variables_are_no_settings() -> None:
    with (
        pytest.raises(ValueError, match="'PATH' is no setting of Taskyard's"),
        temporary_settings({"PATH": ""}),
    ):
        pass
