"""Help texts without what only a programmer reads: types of Python, ranges, exit codes under every command.

What a value is, its placeholder says (``N``, ``SECONDS``, ``NAME``); a flag has none. The bounds of numbers
are checked by `at_least`, because Typer prints those it checks itself. Exit codes are under
``taskyard --help``.
"""

import re
from collections.abc import Callable
from inspect import cleandoc
from typing import Any, Final

import typer
from typer.core import TyperArgument, TyperCommand, TyperGroup

HELP_NAMES: Final = {"help_option_names": ["-h", "--help"]}
NO_TYPE: Final = ""
"""The placeholder of a flag."""
_SINGLE_NEWLINE: Final = re.compile(r"(?<!\n)\n(?!\n)")


class _Plain:
    """Mixed into commands: flags and arguments say nothing of their types, some versions of Typer would."""

    help: str | None

    def get_params(self, ctx: Any) -> list[Any]:
        """Return the parameters; `--help`, which Typer makes itself, is one of them."""
        params: list[Any] = super().get_params(ctx)  # type: ignore[misc]  # the command's
        for param in params:
            if getattr(param, "is_flag", False) and not param.metavar:
                param.metavar = NO_TYPE
            if isinstance(param, TyperArgument):
                param.display_type_rich = _no_type  # type: ignore[method-assign]
        return params

    def format_help(self, ctx: Any, formatter: Any) -> None:
        """Print the help text, its paragraphs as wide as the terminal is."""
        if self.help:
            self.help = _SINGLE_NEWLINE.sub(" ", cleandoc(self.help))
        super().format_help(ctx, formatter)  # type: ignore[misc]  # the command's


def _no_type(ctx: Any) -> None:
    """Say nothing of the type of an argument."""


class PlainCommand(_Plain, TyperCommand):
    """A command with a plain help text."""


class PlainGroup(_Plain, TyperGroup):
    """A group of commands with plain help texts."""


class Commands(typer.Typer):
    """Commands with plain help texts, below one word of the command line."""

    def __init__(self, **settings: Any) -> None:
        """Make a group; `settings` are those of `typer.Typer`."""
        super().__init__(cls=PlainGroup, no_args_is_help=True, **settings)

    def command(self, name: str | None = None, **settings: Any) -> Callable[..., Any]:
        """Return what makes a function a command of this name."""
        return super().command(name, **{"cls": PlainCommand, **settings})


def at_least(least: float) -> Callable[[float | None], float | None]:
    """Return what checks that a number is not smaller, if there is one."""

    def check(value: float | None) -> float | None:
        if value is not None and value < least:
            raise typer.BadParameter(f"{value:g} is too small; give {least:g} or more")
        return value

    return check
