import logging
import pickle
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest

from taskyard._engine.definitions.flow_options import FlowSettings
from taskyard._engine.definitions.option_checks import exponential_backoff
from taskyard._engine.definitions.task_options import TaskSettings
from taskyard._engine.submission.templates import plain_template
from taskyard.cache_policies import DEFAULT, INPUTS, NO_CACHE, TASK_SOURCE, CacheKeyFnPolicy, StorageKeyPolicy
from taskyard.exceptions import ConfigurationError, ReservedArgumentError
from taskyard.tasks import Task
from taskyard.utilities.annotations import NotSet
from taskyard_contract.payload_limits import MAX_LABEL_BYTES


def f(x: int = 0) -> int:
    """Do what is needed.

    In detail.
    """
    return x


class Plain:
    def __call__(self) -> None: ...


def task(**options: Any) -> TaskSettings:
    return TaskSettings(fn=f, **options)


def flow(**options: Any) -> FlowSettings:
    return FlowSettings(fn=f, **options)


def hook(*_: object) -> None: ...


def key_fn(context: object, parameters: dict[str, Any]) -> str | None:
    return "key"


def test_row_1_only_callables_can_be_decorated() -> None:
    with pytest.raises(TypeError, match="'fn' must be callable"):
        TaskSettings(fn=3)  # type: ignore[arg-type]  # the mistake under test


def test_rows_2_and_3_name_and_description_come_from_the_function() -> None:
    assert (task().name, task().description) == ("f", "Do what is needed.\n\nIn detail.")
    assert TaskSettings(fn=Plain()).name == "Plain"
    assert task(name="n", description="").description == ""


@pytest.mark.parametrize(("given", "kept"), [(None, set()), (["a", "b", "a"], {"a", "b"}), ({"c"}, {"c"})])
def test_row_4_tags_are_a_set(given: Any, kept: set[str]) -> None:
    assert task(tags=given).tags == kept


def test_row_4_a_string_is_no_collection_of_tags() -> None:
    with pytest.raises(TypeError, match=r"write \['etl'\]"):
        task(tags="etl")
    with pytest.raises(TypeError, match="must hold strings, got 3"):
        task(tags=["a", 3])


def test_row_8_a_run_name_is_a_template_or_a_callable() -> None:
    assert task(task_run_name="{x}").task_run_name == "{x}"
    assert task(task_run_name=key_fn).task_run_name == key_fn
    with pytest.raises(TypeError, match="'task_run_name' must be a string or a callable, got int"):
        task(task_run_name=3)
    with pytest.raises(TypeError, match="flow_run_name"):
        flow(flow_run_name=3)


def test_row_9_retries_count_extra_attempts() -> None:
    assert task().retries == 0
    assert task(retries=None).retries == 0
    assert task(retries=3).retries == 3
    with pytest.raises(ValueError, match="'retries' must not be negative"):
        task(retries=-1)
    with pytest.raises(TypeError, match="'retries' must be an int, got str"):
        task(retries="3")


@pytest.mark.parametrize(
    ("given", "delays"),
    [
        (None, ()),
        (5, (5.0,)),
        (0.5, (0.5,)),
        ([1, 2.5], (1.0, 2.5)),
        ((1, 2), (1.0, 2.0)),
        (lambda retries: [1] * retries, (1.0, 1.0, 1.0)),
        (exponential_backoff(10), (10.0, 20.0, 40.0)),
    ],
)
def test_row_10_retry_delays_take_three_forms(given: Any, delays: tuple[float, ...]) -> None:
    settings = task(retries=3, retry_delay_seconds=given)
    assert settings.retry_delays == delays
    assert settings.retry_delays_ms == [round(delay * 1000) for delay in delays]


@pytest.mark.parametrize(
    ("given", "error", "text"),
    [
        ([1] * 51, ValueError, "at most 50 delays, got 51"),
        (lambda retries: [1] * 51, ValueError, "at most 50 delays, got 51"),
        ("5", TypeError, "must be a number, a list of numbers, or a callable"),
        (timedelta(1), TypeError, "got timedelta"),
        ([1, "2"], TypeError, "must hold numbers, got str"),
        (-1, ValueError, "not negative"),
        (float("inf"), ValueError, "finite"),
    ],
)
def test_row_10_wrong_retry_delays(given: Any, error: type[Exception], text: str) -> None:
    with pytest.raises(error, match=text):
        task(retries=3, retry_delay_seconds=given)


def test_row_11_exponential_backoff_stops_at_fifty() -> None:
    assert exponential_backoff(1)(3) == [1, 2, 4]
    assert len(exponential_backoff(1)(200)) == 50


def test_row_12_the_jitter_factor_is_not_negative() -> None:
    assert task(retry_jitter_factor=0.5).retry_jitter_factor == 0.5
    assert task(retry_jitter_factor=None).retry_jitter_factor == 0
    assert task(retry_jitter_factor=3).retry_jitter_factor == 1
    with pytest.raises(ValueError, match="'retry_jitter_factor' must be >= 0"):
        task(retry_jitter_factor=-0.1)


@pytest.mark.parametrize(
    ("options", "error", "text"),
    [
        ({"retry_jitter_factor": float("nan")}, ValueError, "'retry_jitter_factor' must be >= 0 and finite"),
        ({"retry_jitter_factor": float("inf")}, ValueError, "'retry_jitter_factor' must be >= 0 and finite"),
        ({"retries": 2**31}, ValueError, "'retries' must be at most 2147483647, got 2147483648"),
        ({"priority": 2**31}, ValueError, "'priority' must lie between -2147483648 and 2147483647"),
        ({"priority": -(2**31) - 1}, ValueError, "'priority' must lie between"),
        ({"tags": 5}, TypeError, "'tags' must be a collection of strings, got 5"),
    ],
)
def test_what_no_template_can_hold_is_refused_where_the_function_is_decorated(
    options: dict[str, Any], error: type[Exception], text: str
) -> None:
    with pytest.raises(error, match=text):
        task(**options)


def test_the_largest_options_fit_into_a_template() -> None:
    largest = Task(
        len,
        retries=2**31 - 1,
        priority=-(2**31),
        retry_delay_seconds=1e300,
        timeout_seconds=1e300,
        cache_expiration=timedelta.max,
    )
    message = plain_template(largest, frozenset())
    assert (message.retry.max_retries, message.priority) == (2**31 - 1, -(2**31))
    assert min(*message.retry.delays_ms, message.timeout_ms, message.cache_expiration_ms) > 3e12


@pytest.mark.parametrize("option", ["retry_condition_fn", "cache_key_fn"])
def test_rows_13_and_16_functions_are_callable(option: str) -> None:
    with pytest.raises(TypeError, match=f"'{option}' must be callable, got int"):
        task(**{option: 3})


def test_row_14_a_timeout_is_positive_seconds() -> None:
    assert task(timeout_seconds=0).timeout_seconds is None
    assert task(timeout_seconds=1.5).timeout_ms == 1500
    assert task(timeout_seconds=0.0001).timeout_ms == 1
    assert task().timeout_ms == 0
    with pytest.raises(ValueError, match="'timeout_seconds' must be finite and not negative"):
        task(timeout_seconds=-1)
    with pytest.raises(TypeError, match="got str"):
        task(timeout_seconds="1")


def test_row_17_an_expiration_is_a_timedelta() -> None:
    assert task().cache_expiration_ms == 0
    assert task(cache_expiration=timedelta(minutes=1)).cache_expiration_ms == 60_000
    with pytest.raises(TypeError, match="'cache_expiration' must be a timedelta, got int"):
        task(cache_expiration=60)


def test_row_17_an_expiration_in_the_past_is_not_for_ever() -> None:
    assert task(cache_expiration=timedelta(0)).cache_expiration_ms == 1
    assert task(cache_expiration=timedelta(-1)).cache_expiration_ms == 1


@pytest.mark.parametrize("option", ["on_completion", "on_failure", "on_running"])
def test_row_27_hooks_are_lists_of_callables(option: str) -> None:
    assert getattr(task(**{option: [hook]}), option) == (hook,)
    with pytest.raises(TypeError, match=rf"'{option}' must be a list of callables.*{option}=\[hook\]"):
        task(**{option: hook})
    with pytest.raises(TypeError, match=f"'{option}' must hold callables, got 3"):
        task(**{option: [3]})


@pytest.mark.parametrize(
    ("option", "value", "expected"),
    [
        ("name", 5, "a string"),
        ("version", 5, "a string"),
        ("log_prints", "yes", "True or False"),
        ("persist_result", "yes", "True or False"),
        ("refresh_cache", 1, "True or False"),
        ("queue", 5, "the name of a queue"),
        ("priority", True, "an int"),
        ("agent_labels", ["gpu=a100"], "a mapping of names to values such as .*"),
        ("result_storage_key", 5, "a string"),
        ("cache_policy", "INPUTS", "a policy of taskyard.cache_policies"),
    ],
)
def test_row_1_an_option_of_the_wrong_type_is_named(option: str, value: object, expected: str) -> None:
    with pytest.raises(TypeError, match=f"'{option}' must be {expected}, got "):
        task(**{option: value})


@pytest.mark.parametrize("labels", [{"gpu": 1}, {1: "a"}, {"gpu": "a\x00b"}])
def test_labels_of_agents_are_text(labels: dict[Any, Any]) -> None:
    with pytest.raises(TypeError, match="'agent_labels' must hold printable strings, got "):
        task(agent_labels=labels)


def test_labels_of_agents_are_bounded() -> None:
    assert task(agent_labels={"a": "b" * (MAX_LABEL_BYTES - 1)}).agent_labels is not None
    with pytest.raises(ValueError, match="'agent_labels' can hold at most 1,024 bytes of text, got 1,025"):
        task(agent_labels={"ä": "b" * (MAX_LABEL_BYTES - 1)})


def test_labels_of_agents_are_kept_taken_back_and_not_shared() -> None:
    given = {"zone": "a", "gpu": "a100"}
    settings = task(agent_labels=given)
    given.clear()
    assert settings.agent_labels == {"gpu": "a100", "zone": "a"}
    assert settings.with_options({"queue": "q"}).agent_labels == settings.agent_labels
    assert settings.with_options({"agent_labels": None}).agent_labels is None
    assert task(agent_labels={}).agent_labels is None


@pytest.mark.parametrize("option", ["on_cancellation", "on_crashed"])
def test_row_64_flows_have_more_hooks(option: str) -> None:
    with pytest.raises(TypeError, match=option):
        flow(**{option: hook})


@pytest.mark.parametrize(
    ("fn", "name"), [(lambda wait_for: 0, "wait_for"), (lambda *, return_state: 0, "return_state")]
)
def test_row_32_reserved_argument_names(fn: Callable[..., Any], name: str) -> None:
    for settings in (TaskSettings, FlowSettings):
        with pytest.raises(ReservedArgumentError) as raised:
            settings(fn=fn)
        assert str(raised.value) == f"'{name}' is a reserved argument name and cannot be used."


def test_row_31_with_options_replaces_what_is_given() -> None:
    before = task(name="a", tags=["x"], retries=2, retry_delay_seconds=exponential_backoff(1), version="3")
    after = before.with_options({"retries": 3, "name": NotSet})
    assert (after.name, set(after.tags), after.version) == ("a", {"x"}, "3")
    assert (before.retry_delays, after.retry_delays) == ((1.0, 2.0), (1.0, 2.0, 4.0))


def test_with_options_honours_zero_and_empty_but_not_none() -> None:
    before = task(retries=2, tags=["x"], on_failure=[hook], timeout_seconds=3)
    after = before.with_options({"retries": 0, "tags": [], "on_failure": [], "timeout_seconds": None})
    assert (after.retries, after.tags, after.on_failure, after.timeout_seconds) == (0, frozenset(), (), None)
    assert before.with_options({"tags": None, "on_failure": None}) == before


def test_with_options_checks_again_and_refuses_unknown_options() -> None:
    with pytest.raises(ValueError, match="retries"):
        task().with_options({"retries": -1})
    with pytest.raises(TypeError, match="colour"):
        task().with_options({"colour": "red"})


def test_b5_6_nothing_said_means_no_cache() -> None:
    assert task().caching is None
    assert task(cache_policy=NO_CACHE).caching is None
    assert task(cache_policy=None).caching is None
    assert task(cache_policy=NO_CACHE, result_storage_key="k").caching is None


def test_b5_6_precedence_of_cache_options(caplog: pytest.LogCaptureFixture) -> None:
    assert task(result_storage_key="k", persist_result=True).caching == StorageKeyPolicy("k")
    assert task(cache_policy=INPUTS, result_storage_key="k").caching == INPUTS
    assert task(persist_result=True).caching == DEFAULT
    assert Task(f, persist_result=True).cache_policy == DEFAULT, "what runs are cached by"
    assert task(cache_key_fn=key_fn).caching == CacheKeyFnPolicy(key_fn)
    assert caplog.records == []
    with caplog.at_level(logging.WARNING):
        assert task(cache_key_fn=key_fn, cache_policy=INPUTS).caching == CacheKeyFnPolicy(key_fn)
    assert "cache_key_fn is used" in caplog.text


def test_row_22_persist_result_false_turns_caching_off_with_a_warning(
    caplog: pytest.LogCaptureFixture,
) -> None:
    with caplog.at_level(logging.WARNING):
        assert task(cache_policy=INPUTS, persist_result=False).caching is None
    assert "persist_result=False" in caplog.text


def test_the_source_is_captured_only_for_policies_that_need_it() -> None:
    assert task(cache_policy=INPUTS).source_code == ""
    assert task(cache_policy=INPUTS + TASK_SOURCE).source_code.startswith("def f(x: int")


def test_settings_survive_pickling() -> None:
    before = task(retries=2, retry_delay_seconds=3, tags=["a"], cache_policy=INPUTS)
    assert pickle.loads(pickle.dumps(before)) == before


def test_settings_do_not_change() -> None:
    with pytest.raises(AttributeError):
        task().retries = 3  # type: ignore[misc]  # the mistake under test


def test_row_60_flow_options() -> None:
    settings = flow(retries=2, retry_delay_seconds=5, timeout_seconds=1)
    assert (settings.name, settings.retries, settings.timeout_seconds) == ("f", 2, 1.0)
    assert (settings.retry_delays, settings.retry_delays_ms) == ((5.0,), [5000])
    assert settings.with_options({"name": "g"}).name == "g"
    with pytest.raises(ConfigurationError, match="expected 'returned'"):
        flow(final_state="some")
