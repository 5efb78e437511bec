"""What is said of runs that are submitted, at the level DEBUG: that each was created, and is being executed.

Asked for by `Scope.speaks`, because to ask a logger would cost more than all else that is said of most runs.
"""

from collections.abc import Iterable

from taskyard._engine.definitions.task_definition import TaskDefinition
from taskyard.context import current_context
from taskyard.logging import get_logger, get_run_logger
from taskyard_contract.for_people import run_lines


def say_submitted(task: TaskDefinition[..., object], names: Iterable[str], *, at_once: bool) -> None:
    """Say that runs were submitted.

    Args:
        task: Their task.
        names: Their names.
        at_once: Whether their caller waits for them.
    """
    context = current_context()
    logger = get_run_logger(context) if context is not None else get_logger("engine")
    for name in names:
        logger.debug("%s", run_lines.created(name, task.name))
        logger.debug("%s", run_lines.executing(name) if at_once else run_lines.submitted(name))
