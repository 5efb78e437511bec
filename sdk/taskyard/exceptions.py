"""Every exception that programs written with Taskyard may want to catch.

    TaskyardError, TaskyardException    (from taskyard_contract.errors, with the server's own errors below it)
      ObjectNotFound                    what was named is not there: a run, for example, as RunNotFound
      ObjectAlreadyExists               what was to be made is there
      NotSupported                      (NotImplementedError) nothing in this release can do what is asked for
      SearchTooWide                     too many runs, or log records, would have to be read for an answer
      MissingResult                     a completed run has no stored value, or it is no longer where it was
        DamagedResult                   what is there is not what was written
      ResultStorageError                storage of results cannot be used, or does not answer
      UnfinishedRun                     the run has no result yet
        PausedRun                       the run is paused
        UpstreamTaskError               an upstream run did not complete, so there never is one
      FailedRun                         the run failed, and its exception object is not available
        RemoteError                     the same, with all that was told of it: failures of other languages
      TooManyWaitingRuns                the run had to wait for others, and its agent lets no more runs wait
      CrashedRun                        the run's process was lost or interrupted
      CancelledRun                      the run was cancelled
      MissingFlowError                  there is no flow of that name where one was to be loaded from
      UnspecifiedFlowError              there are several, and none was named
      ScriptError                       a script, or a module, failed while a flow was loaded from it
      MissingContextError               (RuntimeError) called outside of a run
      ConfigurationError                (ValueError) options that contradict each other
      HashError                         (ValueError) no cache key can be computed from these values
      SerializationError                a value cannot be written
        NotPicklable                    (TypeError) it cannot travel to another process
        NotSerializable                 (TypeError) it has no form in the encoding that was asked for
      ResultTypeError                   (TypeError) a result does not have the type that was declared for it
      ParameterTypeError                (TypeError) a run's parameters do not have their declared types
      ParameterBindError                (TypeError) arguments do not match the function's signature
        SignatureMismatchError          parameters have names that the function does not know
      ReservedArgumentError             (TypeError) a parameter has a name that Taskyard uses itself
      MappingMissingIterable            (TypeError) nothing to map over
      MappingLengthMismatch             (ValueError) iterables of different lengths
      TaskRunTimeoutError               (TimeoutError) an attempt of a task took too long
      FlowRunTimeoutError               (TimeoutError) an attempt of a flow took too long
      FlowRunWaitTimeout                (TimeoutError) a flow run did not end as soon as somebody waited for
      FlowPauseTimeout, NotPausedError  for programs that catch them; not raised, as nothing can be paused yet
      InvalidNameError                  (ValueError) a name that may not be used; names of runs are free here
    BaseException
      ExternalSignal
        TerminationSignal               this process was told to end
      TaskyardSignal                    a run was told to end
        FlowCancelled                   the flow was cancelled while its body ran
        FlowTimedOut                    the time of the flow was up while its body ran
        RunCancelled                    the task run was cancelled while it ran in a thread of this process

Invariant: all of them can be pickled and come back equal in type, text and attributes, because they
travel inside results.
"""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from taskyard._missing_features import absent_names
from taskyard_contract.errors import (
    BlobNotFound,
    ConnectionFailed,
    DigestMismatch,
    DocumentTooLarge,
    ObjectAlreadyExists,
    ObjectNotFound,
    Overloaded,
    PayloadTooLarge,
    RunExists,
    RunNotFound,
    RunNotResumable,
    SecretUnreadable,
    StorageFull,
    StorageUnavailable,
    TaskyardError,
)
from taskyard_contract.languages.remote_errors import FailedRun, RemoteError, register_error

__all__ = [
    "TaskyardError",
    "TaskyardException",
    "BlobNotFound",
    "ConnectionFailed",
    "DigestMismatch",
    "DocumentTooLarge",
    "ObjectAlreadyExists",
    "ObjectNotFound",
    "Overloaded",
    "PayloadTooLarge",
    "RunExists",
    "RunNotFound",
    "RunNotResumable",
    "SecretUnreadable",
    "StorageFull",
    "StorageUnavailable",
    "NotSupported",
    "SearchTooWide",
    "MissingResult",
    "DamagedResult",
    "ResultStorageError",
    "UnfinishedRun",
    "PausedRun",
    "FailedRun",
    "RemoteError",
    "register_error",
    "TooManyWaitingRuns",
    "CrashedRun",
    "CancelledRun",
    "UpstreamTaskError",
    "MissingFlowError",
    "UnspecifiedFlowError",
    "ScriptError",
    "FlowScriptError",
    "MissingContextError",
    "ConfigurationError",
    "HashError",
    "SerializationError",
    "NotPicklable",
    "NotSerializable",
    "ResultTypeError",
    "ParameterTypeError",
    "ParameterBindError",
    "SignatureMismatchError",
    "ReservedArgumentError",
    "MappingMissingIterable",
    "MappingLengthMismatch",
    "TaskRunTimeoutError",
    "FlowRunTimeoutError",
    "FlowRunWaitTimeout",
    "FlowPauseTimeout",
    "NotPausedError",
    "InvalidNameError",
    "ExternalSignal",
    "TerminationSignal",
    "TaskyardSignal",
    "FlowCancelled",
    "FlowTimedOut",
    "RunCancelled",
]


TaskyardException = TaskyardError
"""The same class, under the name that programs know."""


class NotSupported(TaskyardError, NotImplementedError):
    """Nothing in this release can do what was asked for; it is refused rather than left out."""


class SearchTooWide(TaskyardError):
    """Too many runs, or log records, would have to be read for an answer; ask for fewer."""


class MissingResult(TaskyardError):
    """The run completed, but no value was stored with its state, or it is no longer where it was stored."""


class DamagedResult(MissingResult):
    """What is stored where a result was is not what was written there."""


class ResultStorageError(TaskyardError):
    """Storage of results cannot be used, or does not answer: another time it may."""


class UnfinishedRun(TaskyardError):
    """The run has not ended, so it has no result."""


class PausedRun(UnfinishedRun):
    """The run is paused, so it has no result."""


class UpstreamTaskError(UnfinishedRun):
    """An upstream run did not complete, so the run that needs its result cannot start."""


class TooManyWaitingRuns(FailedRun):
    """The run had to wait for runs it had submitted, and its agent lets no more runs wait.

    Each run that waits keeps a process, so an agent has a limit (``--max-waiting``). A task that calls itself
    without end is ended like this, and so is one whose calls are nested deeper than the limit.
    """


class CrashedRun(TaskyardError):
    """The process that executed the run was lost or interrupted."""


class CancelledRun(TaskyardError):
    """The run was ended, or never begun, because nobody wanted it any more; it has no result."""


class MissingFlowError(TaskyardError):
    """There is no flow of that name in the script, or module, that one was to be loaded from."""


class UnspecifiedFlowError(TaskyardError):
    """There are several flows in a script, and none was named."""


class ScriptError(TaskyardError):
    """A script, or a module, raised an exception while a flow was loaded from it."""

    user_exc: BaseException | None = None
    """What it raised."""
    path: str = ""
    """The script, or the name of the module."""

    @classmethod
    def of(cls, user_exc: BaseException, path: str) -> "ScriptError":
        """Describe what a script raised."""
        error = cls(f"Script at {path!r} encountered an exception: {user_exc!r}")
        error.user_exc, error.path = user_exc, path
        return error

    def __reduce__(self) -> tuple[Any, ...]:
        """Take along what the script raised."""
        return (*super().__reduce__(), {"user_exc": self.user_exc, "path": self.path})


FlowScriptError = ScriptError
"""Its name in former Prefects."""


class MissingContextError(TaskyardError, RuntimeError):
    """Something that only exists during a flow or task run was used outside of one."""


class ConfigurationError(TaskyardError, ValueError):
    """Options of a task or flow contradict each other."""


class HashError(TaskyardError, ValueError):
    """No cache key can be computed from these values."""


class SerializationError(TaskyardError):
    """A value cannot be written."""


class NotPicklable(SerializationError, TypeError):
    """A value cannot be pickled, so it cannot travel to another process."""


class NotSerializable(SerializationError, TypeError):
    """A value has no form in the encoding that was asked for, JSON or bytes."""


class ResultTypeError(TaskyardError, TypeError):
    """The result of a run does not have the type that was declared for it."""


class ParameterTypeError(TaskyardError, TypeError):
    """Parameters of a run do not have the types that the flow, or the task, declares."""


class ParameterBindError(TaskyardError, TypeError):
    """The arguments of a call do not match the signature of the function."""

    @classmethod
    def from_call(
        cls,
        function_name: str,
        signature: object,
        args: tuple[Any, ...],
        kwargs: Mapping[str, Any],
        why: object,
        hint: str = "",
    ) -> "ParameterBindError":
        """Describe a call that does not fit: what Python says about it, and both sides."""
        return cls(
            f"cannot bind the arguments of '{function_name}': {why}. Its signature is '{signature}', but it "
            f"received {len(args)} positional arguments and the keywords {sorted(kwargs)}.{hint}"
        )


class SignatureMismatchError(ParameterBindError):
    """Parameters were given by name that the function does not know."""


class ReservedArgumentError(TaskyardError, TypeError):
    """A parameter of a task or flow has a name that Taskyard uses for itself."""


class MappingMissingIterable(TaskyardError, TypeError):
    """None of the arguments given to `map` can be iterated over."""


class MappingLengthMismatch(TaskyardError, ValueError):
    """Iterables given to `map` have different lengths."""


class TaskRunTimeoutError(TaskyardError, TimeoutError):
    """An attempt of a task took longer than its `timeout_seconds`."""


class FlowRunTimeoutError(TaskyardError, TimeoutError):
    """An attempt of a flow took longer than its `timeout_seconds`."""


class FlowRunWaitTimeout(TaskyardError, TimeoutError):
    """A flow run did not end as soon as somebody waited for. It goes on."""


class FlowPauseTimeout(TaskyardError, TimeoutError):
    """A paused flow run was not resumed in time. Not raised in this release, which pauses none."""


class NotPausedError(TaskyardError):
    """A flow run that is to be resumed is not paused. Not raised in this release, which pauses none."""


class InvalidNameError(TaskyardError, ValueError):
    """A name may not be used. Taskyard takes any name for tasks, flows and runs; programs may be stricter."""


class ExternalSignal(BaseException):
    """The operating system told this process something. Not an `Exception`: user code must not swallow it."""


class TaskyardSignal(BaseException):
    """A run was told to end. Not an `Exception`, as above; a body may let it pass by this name."""


class FlowCancelled(TaskyardSignal):
    """Raised inside the body of a flow whose cancellation was requested.

    Not an `Exception`: bodies that catch everything they know must still end.
    """


class FlowTimedOut(TaskyardSignal):
    """Raised inside the body of a flow whose time is up; the run ends by `FlowRunTimeoutError`.

    Not an `Exception`, as above.
    """


class RunCancelled(TaskyardSignal):
    """Raised in the thread of a run, in the process that submitted it, when somebody cancels the run."""


class TerminationSignal(ExternalSignal):
    """This process received a signal that asks it to end."""

    def __init__(self, signal: int) -> None:
        """Remember which signal it was."""
        super().__init__(signal)
        self.signal = signal


if not TYPE_CHECKING:  # type checkers would stop checking names
    __getattr__ = absent_names(__name__)
