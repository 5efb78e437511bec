import inspect
import pickle

import pytest

from taskyard import exceptions
from taskyard.exceptions import ParameterBindError, TaskyardError, TerminationSignal

OWN = [
    kind for kind in vars(exceptions).values() if inspect.isclass(kind) and issubclass(kind, TaskyardError)
]


@pytest.mark.parametrize("kind", OWN)
def test_every_exception_survives_pickling(kind: type[TaskyardError]) -> None:
    before = kind("what was wrong", limit=3)
    after = pickle.loads(pickle.dumps(before))
    assert type(after) is kind
    assert (str(after), after.limit) == ("what was wrong", 3)


@pytest.mark.parametrize("kind", OWN)
def test_every_exception_is_in_the_documented_tree(kind: type[TaskyardError]) -> None:
    assert kind.__name__ in exceptions.__all__
    assert kind.__module__ != "taskyard.exceptions" or kind.__name__ in (exceptions.__doc__ or "")


@pytest.mark.parametrize(
    ("kind", "builtin"),
    [
        (exceptions.ParameterBindError, TypeError),
        (exceptions.ReservedArgumentError, TypeError),
        (exceptions.MissingContextError, RuntimeError),
        (exceptions.TaskRunTimeoutError, TimeoutError),
        (exceptions.FlowRunTimeoutError, TimeoutError),
        (exceptions.PausedRun, exceptions.UnfinishedRun),
        (exceptions.UpstreamTaskError, exceptions.UnfinishedRun),
        (exceptions.SignatureMismatchError, exceptions.ParameterBindError),
        (exceptions.NotPicklable, exceptions.SerializationError),
        (exceptions.NotSerializable, exceptions.SerializationError),
        (exceptions.RunNotFound, exceptions.ObjectNotFound),
        (exceptions.FlowRunWaitTimeout, TimeoutError),
        (exceptions.InvalidNameError, ValueError),
    ],
)
def test_exceptions_are_also_what_python_calls_them(kind: type[Exception], builtin: type[Exception]) -> None:
    assert issubclass(kind, builtin)


def test_b3_signals_are_not_swallowed_by_except_exception() -> None:
    assert not issubclass(TerminationSignal, Exception)
    for kind in (exceptions.FlowCancelled, exceptions.RunCancelled):
        assert issubclass(kind, exceptions.TaskyardSignal)
        assert not issubclass(kind, Exception)
    assert pickle.loads(pickle.dumps(TerminationSignal(15))).signal == 15


def test_row_39_a_bad_call_names_both_sides() -> None:
    error = ParameterBindError.from_call("f", "(x)", (1, 2), {"y": 3}, "too many positional arguments")
    assert str(error) == (
        "cannot bind the arguments of 'f': too many positional arguments. Its signature is '(x)', but it "
        "received 2 positional arguments and the keywords ['y']."
    )


def test_the_root_has_the_name_that_ported_programs_catch() -> None:
    assert exceptions.TaskyardException is TaskyardError


@pytest.mark.parametrize(
    "name", ["MissingResult", "UnfinishedRun", "FailedRun", "CrashedRun", "CancelledRun"]
)
def test_what_ends_runs_is_below_the_root(name: str) -> None:
    assert issubclass(getattr(exceptions, name), exceptions.TaskyardException)


def test_a_name_of_prefect_is_explained_after_both_replacements_too() -> None:
    with pytest.raises(ImportError, match="it is TaskyardError here"):
        exec("from taskyard.exceptions import TaskyardHTTPStatusError")
    with pytest.raises(ImportError, match="it is TaskyardFuture here"):
        exec("from taskyard.futures import TaskyardWrappedFuture")
