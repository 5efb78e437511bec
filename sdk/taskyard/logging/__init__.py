"""Logging of runs: to the console in one format, and to the control plane.

Importing this changes nothing: handlers are put on Taskyard's own loggers (never on the root logger) when
the first run starts, and only if the program has not put any there itself.
"""

from typing import TYPE_CHECKING

from taskyard._missing_features import absent_names
from taskyard.logging.loggers import (
    configure,
    disable_run_logger,
    flow_run_logger,
    get_logger,
    get_run_logger,
    task_run_logger,
)
from taskyard.logging.loggers import show as show
from taskyard.logging.loggers import show_as_from_here as show_as_from_here
from taskyard.logging.loggers import show_from_here as show_from_here
from taskyard.logging.loggers import wants_all as wants_all
from taskyard.logging.loggers import wants_completions as wants_completions
from taskyard.logging.output import say_dropped_output as say_dropped_output
from taskyard.logging.output import show_said as show_said
from taskyard.logging.prints import capture_prints as capture_prints
from taskyard.logging.prints import captured_prints as captured_prints

__all__ = [
    "configure",
    "disable_run_logger",
    "flow_run_logger",
    "get_logger",
    "get_run_logger",
    "task_run_logger",
]
"""What programs use; the rest is for the engine and the command line."""

if not TYPE_CHECKING:  # type checkers would stop checking names
    __getattr__ = absent_names(__name__)
