"""Types for annotations of parameters, and of models, which pydantic checks."""

from datetime import date, datetime, timedelta
from functools import cache
from typing import TYPE_CHECKING, Annotated, Any, Final, Literal
from zoneinfo import available_timezones

from pydantic import AfterValidator, BeforeValidator, Field, SecretStr

from taskyard._missing_features import absent_names
from taskyard.exceptions import InvalidNameError

__all__ = [
    "BANNED_CHARACTERS",
    "Date",
    "DateTime",
    "Duration",
    "KeyValueLabels",
    "ListOfNonEmptyStrings",
    "LogLevel",
    "Name",
    "NameOrEmpty",
    "NonEmptyishName",
    "NonNegativeFloat",
    "NonNegativeInteger",
    "PositiveInteger",
    "SecretDict",
    "StatusCode",
    "StrictVariableValue",
    "TimeZone",
    "raise_on_name_with_banned_characters",
]

BANNED_CHARACTERS: Final = ("/", "%", "&", ">", "<")
"""Have a meaning in addresses and in file names."""


def raise_on_name_with_banned_characters(name: str | None) -> str | None:
    """Return a name; refuse one that cannot be a part of an address or of a file name.

    Names of tasks, flows and runs are free. This is for names of the program's own things.

    Args:
        name: The name; None is none.

    Raises:
        InvalidNameError: It has one of `BANNED_CHARACTERS`.
    """
    if name is not None and any(character in name for character in BANNED_CHARACTERS):
        raise InvalidNameError(
            f"Name {name!r} contains an invalid character. Must not contain any of: {BANNED_CHARACTERS}."
        )
    return name


@cache
def _time_zones() -> frozenset[str]:
    return frozenset(available_timezones())  # which looks through hundreds of files


def _checked_time_zone(name: str) -> str:
    if name not in _time_zones():
        raise ValueError(f"{name!r} is no time zone: it is written like 'Europe/Paris'")
    return name


def _checked_not_blank(name: str) -> str:
    if not name.strip(" '\""):
        raise ValueError("the name is empty, or nothing but blanks and quotes")
    return name


def _without_blanks(value: Any) -> Any:
    """Return what is not blank: of a text, the parts between its commas; of a list, its elements."""
    parts = value.split(",") if isinstance(value, str) else value
    return [str(part).strip() for part in parts if str(part).strip()] if isinstance(parts, list) else parts


def _upper(value: Any) -> Any:
    return value.upper() if isinstance(value, str) else value


Date = date
DateTime = datetime
Duration = timedelta
NonNegativeInteger = Annotated[int, Field(ge=0)]
PositiveInteger = Annotated[int, Field(gt=0)]
NonNegativeFloat = Annotated[float, Field(ge=0.0)]
StatusCode = Annotated[int, Field(ge=100, le=599)]
TimeZone = Annotated[str, AfterValidator(_checked_time_zone)]
NameOrEmpty = Annotated[str, AfterValidator(raise_on_name_with_banned_characters)]
Name = Annotated[str, Field(min_length=1), AfterValidator(raise_on_name_with_banned_characters)]
NonEmptyishName = Annotated[
    str, AfterValidator(raise_on_name_with_banned_characters), AfterValidator(_checked_not_blank)
]
ListOfNonEmptyStrings = Annotated[list[str], BeforeValidator(_without_blanks)]
LogLevel = Annotated[Literal["DEBUG", "INFO", "WARNING", "ERROR", "CRITICAL"], BeforeValidator(_upper)]
SecretDict = dict[str, SecretStr]
KeyValueLabels = dict[str, bool | int | float | str]
StrictVariableValue = str | int | float | bool | None | dict[str, Any] | list[Any]
"""What JSON holds."""

if not TYPE_CHECKING:  # type checkers would stop checking names
    __getattr__ = absent_names(__name__)
