"""Profiles, sets of settings with names in a file: not in this release. Variables say everything."""

from typing import Any, NoReturn

from taskyard._prefect_names import reasons
from taskyard._refused_calls import Refused, refuse


class Profile(Refused):
    """A set of settings with a name."""

    why_refused = reasons.PROFILES


class ProfilesCollection(Refused):
    """All sets of settings."""

    why_refused = reasons.PROFILES


def load_profiles(*args: Any, **options: Any) -> NoReturn:
    """Refuse."""
    refuse("taskyard.settings.load_profiles()", reasons.PROFILES)


def load_profile(*args: Any, **options: Any) -> NoReturn:
    """Refuse."""
    refuse("taskyard.settings.load_profile(...)", reasons.PROFILES)


def load_current_profile() -> NoReturn:
    """Refuse."""
    refuse("taskyard.settings.load_current_profile()", reasons.PROFILES)


def save_profiles(*args: Any, **options: Any) -> NoReturn:
    """Refuse."""
    refuse("taskyard.settings.save_profiles(...)", reasons.PROFILES)


def update_current_profile(*args: Any, **options: Any) -> NoReturn:
    """Refuse."""
    refuse("taskyard.settings.update_current_profile(...)", reasons.PROFILES)


def use_profile(*args: Any, **options: Any) -> NoReturn:
    """Refuse."""
    refuse("taskyard.context.use_profile(...)", reasons.PROFILES)
