"""Names of runs, from the templates that tasks and flows give for them."""

from collections.abc import Callable, Mapping
from typing import Any

from taskyard._engine.definitions.option_checks import signature_of
from taskyard.exceptions import ConfigurationError
from taskyard_contract.failures import text_of, type_name
from taskyard_contract.wire_text import printable


def render_run_name(
    template: str | Callable[..., str], parameters: Mapping[str, Any], of: str, option: str = "task_run_name"
) -> str:
    """Return a run's name from its template, or from the callable that makes it.

    Args:
        template: What the option says.
        parameters: The arguments of the call, by name.
        of: Whose option it is, for messages: "task 'one'".
        option: The name of the option.

    Raises:
        TypeError: The callable returned something else than a string.
        ConfigurationError: The template cannot be filled with these parameters.
    """
    if isinstance(template, str):
        try:
            return printable(template.format(**parameters))
        except Exception as error:  # a name that is not there, or code of the values themselves
            raise ConfigurationError(_cannot_fill(template, parameters, of, option, error)) from error
    wants_parameters = "parameters" in signature_of(template).parameters
    name = template(parameters=dict(parameters)) if wants_parameters else template()
    if not isinstance(name, str):
        raise TypeError(
            f"'{option}' of {of} must return a string, its callable returned {type(name).__name__}"
        )
    return printable(name)


def _cannot_fill(template: str, parameters: Mapping[str, Any], of: str, option: str, error: Exception) -> str:
    """Say what is wrong with a template: which place in it, and what could stand there."""
    missing = error.args[0] if isinstance(error, KeyError) and error.args else None
    if isinstance(missing, str) and missing not in parameters and f"{{{missing}" in template:
        why = f"there is no parameter '{missing}'"
    elif isinstance(error, IndexError) and "{}" in template:
        why = "'{}' names no parameter"
    else:
        why = f"{type_name(error)}: {text_of(error)}"
    names = ", ".join(parameters) or "none"
    return f"the option {option}={template!r} of {of} cannot be filled: {why}; the parameters are: {names}"
