"""``taskyard variable``: named values that programs share."""

import json
import re
from typing import Annotated, Any

import typer

from taskyard.cli.exits import CliError
from taskyard.cli.plain_help import Commands, PlainCommand
from taskyard.cli.server_option import ServerOption, calls_of
from taskyard.cli.views.columns import Column
from taskyard.cli.views.output import JsonOption, moment_cell, print_json, print_table, writable

app = Commands(help="Look at variables, set and remove them.")

_WITH_VALUES = ("--tag", "--server")
_NEGATIVE = re.compile(r"-[0-9.]")


class _Setting(PlainCommand):
    """A command whose arguments may be negative numbers, which look like options."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Move negative numbers behind "--", where no options are."""
        if "--" not in args:
            before = ["", *args]
            numbers = [
                place
                for place, word in enumerate(args)
                if _NEGATIVE.match(word) and before[place] not in _WITH_VALUES
            ]
            if numbers:
                rest = [word for place, word in enumerate(args) if place not in numbers]
                args = [*rest, "--", *(args[place] for place in numbers)]
        return super().parse_args(ctx, args)


NameArgument = Annotated[
    str, typer.Argument(metavar="NAME", help="The name of a variable.", show_default=False)
]


@app.command("ls")
def ls(
    server: ServerOption = "",
    prefix: Annotated[
        str, typer.Option(metavar="TEXT", help="Only names that begin like this.", show_default=False)
    ] = "",
    as_json: JsonOption = False,
) -> None:
    """List variables, in the order of their names."""
    from taskyard.cli.views.kept import variable_document
    from taskyard.variables import KIND, variable_of

    with calls_of(server) as api:
        found = list(api.documents(KIND, prefix))
    if as_json:
        print_json([variable_document(each) for each in found])
    elif not found:
        print("no variables")
    else:
        variables = [variable_of(each) for each in found]
        rows = [
            (each.name, moment_cell(document.updated_us), ", ".join(each.tags), _shown(each.value))
            for each, document in zip(variables, found, strict=True)
        ]
        columns = (
            Column("NAME", least=16),
            Column("CHANGED", rank=1),
            Column("TAGS", rank=2),
            Column("VALUE", least=12),
        )
        print_table(columns, rows)


@app.command("get")
def get(name: NameArgument, server: ServerOption = "", as_json: JsonOption = False) -> None:
    """Print the value of a variable: a text as it is, everything else as JSON."""
    from taskyard.cli.views.kept import variable_document
    from taskyard.variables import KIND, variable_of

    with calls_of(server) as api:
        found = api.get_document(KIND, name) if name else None
    if found is None:
        raise CliError(_missing(name))
    if as_json:
        print_json(variable_document(found))
        return
    value = variable_of(found).value
    print(writable(value) if isinstance(value, str) else json.dumps(value))


@app.command("set", cls=_Setting)
def set_(
    name: NameArgument,
    value: Annotated[
        str,
        typer.Argument(metavar="VALUE", help="Its value, JSON; what is none is a text.", show_default=False),
    ],
    server: ServerOption = "",
    tag: Annotated[
        list[str] | None,
        typer.Option(metavar="TAG", help="For people who look for it; may be repeated.", show_default=False),
    ] = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Whether it may exist.")] = False,
) -> None:
    """Set a variable."""
    from taskyard._network.server.kept_documents import KeptDocuments
    from taskyard.variables import KIND, Variable, store_variable

    variable = Variable(name, _parsed(value), tag or [])
    with calls_of(server) as api:
        if not overwrite and name and api.get_document(KIND, name) is not None:
            raise CliError(f"the variable '{name}' exists already; add --overwrite to change it")
        try:
            store_variable(KeptDocuments(api, KIND), variable, overwrite)
        except ValueError as error:
            raise CliError(str(error)) from None
    print(f"set {name}")


@app.command("unset")
def unset(name: NameArgument, server: ServerOption = "") -> None:
    """Remove a variable."""
    from taskyard._network.server.kept_documents import KeptDocuments
    from taskyard.variables import KIND

    with calls_of(server) as api:
        if not name or not KeptDocuments(api, KIND).delete(name):
            raise CliError(_missing(name))
    print(f"removed {name}")


def _missing(name: str) -> str:
    return f"there is no variable '{name}'; 'taskyard variable ls' shows those there are"


def _parsed(text: str) -> Any:
    try:
        return json.loads(text, parse_constant=_no_constant)
    except (ValueError, RecursionError):
        return text


def _no_constant(word: str) -> None:
    raise ValueError(word)  # NaN and Infinity, which Python reads and JSON does not have


def _shown(value: Any) -> str:
    """Return a value on one line."""
    return writable(" ".join(value.split())) if isinstance(value, str) else json.dumps(value)
