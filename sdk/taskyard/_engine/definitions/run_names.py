"""Names of runs, from the templates that tasks and flows give for them."""

from collections.abc import Callable, Mapping
from typing import Any

from taskyard._engine.definitions.option_checks import signature_of
from taskyard_contract.wire_text import printable


def render_run_name(
    template: str | Callable[..., str], parameters: Mapping[str, Any], option: str = "task_run_name"
) -> str:
    """Return a run's name from its template, or from the callable that makes it.

    Raises:
        TypeError: The callable returned something else than a string.
        KeyError: The template names a parameter that does not exist.
    """
    if isinstance(template, str):
        return printable(template.format(**parameters))
    wants_parameters = "parameters" in signature_of(template).parameters
    name = template(parameters=dict(parameters)) if wants_parameters else template()
    if not isinstance(name, str):
        raise TypeError(f"'{option}' must return a string, its callable returned {type(name).__name__}")
    return printable(name)
