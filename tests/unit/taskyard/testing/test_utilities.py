"""Helpers for tests that need no yard."""

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


def test_settings_are_others_for_a_while_as_everywhere() -> None:
    assert temporary_settings is settings.temporary_settings
