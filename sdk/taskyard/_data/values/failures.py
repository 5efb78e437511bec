"""What ended a run, in the words that its state shows."""

from taskyard.exceptions import TerminationSignal
from taskyard_contract.failures import text_of, type_name


def message_of(error: BaseException, kind: str = "Task") -> str:
    """Say what ended a run, without its traceback."""
    text = text_of(error)
    return f"{kind} run encountered an exception {type_name(error)}" + (f": {text}" if text else "")


def interruption_of(error: BaseException) -> str:
    """Say what interrupted a run."""
    if isinstance(error, KeyboardInterrupt):
        return "Execution was aborted by an interrupt signal."
    if isinstance(error, SystemExit):
        return "Execution was aborted by Python system exit call."
    if isinstance(error, TerminationSignal):
        return "Execution was aborted by a termination signal."
    return f"Execution was cancelled by the runtime environment ({type_name(error)})."
