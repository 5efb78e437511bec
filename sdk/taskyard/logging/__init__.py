"""Logging of runs: to the console in one format, and to the control plane.

Importing this changes nothing: handlers are put on Taskyard's own loggers (never on the root logger) when
the first run starts, and only if the program has not put any there itself.
"""

from typing import TYPE_CHECKING

from taskyard._missing_features import absent_names
from taskyard.logging.loggers import (
    configure,
    get_logger,
    get_run_logger,
    show,
    show_as_from_here,
    show_from_here,
    wants_all,
    wants_completions,
)
from taskyard.logging.output import say_dropped_output, show_said
from taskyard.logging.prints import capture_prints, captured_prints

__all__ = [
    "capture_prints",
    "captured_prints",
    "configure",
    "get_logger",
    "get_run_logger",
    "say_dropped_output",
    "show",
    "show_as_from_here",
    "show_from_here",
    "show_said",
    "wants_all",
    "wants_completions",
]

if not TYPE_CHECKING:  # type checkers would stop checking names
    __getattr__ = absent_names(__name__)
