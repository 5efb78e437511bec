"""Settings as objects: each is what the code reads that uses it."""

import logging
import os
import pickle
import threading
from pathlib import Path
from typing import Any

import pytest

from taskyard import flow, settings, task
from taskyard.context import SettingsContext, get_settings_context, serialize_context
from taskyard.settings import Settings, environment, get_current_settings, temporary_settings
from taskyard.settings.current import NAMES, set_variables
from taskyard.settings.models import BOUND

VALUES: dict[str, tuple[Any, Any]] = {
    "home": ("/tmp/elsewhere", settings.home),
    "api.url": ("127.0.0.1:1", settings.server),
    "flows.default_retries": (2, lambda: flow(one).retries),
    "flows.default_retry_delay_seconds": (3.0, lambda: flow(one).retry_delay_seconds),
    "tasks.default_retries": (2, lambda: task(one).retries),
    "tasks.default_retry_delay_seconds": ([1.0, 2.0], lambda: task(one).retry_delay_seconds),
    "tasks.default_persist_result": (True, lambda: found_results().persist_tasks),
    "results.persist_by_default": (True, lambda: found_results().persist),
    "results.default_serializer": ("json", lambda: found_results().serializer),
    "results.default_storage": ("/tmp/results", lambda: found_results().storage),
    "results.local_storage_path": (Path("/tmp/local"), lambda: Path(settings.results_path())),
    "results.in_memory": (1, lambda: settings.results_in_memory() // (1024 * 1024)),
    "logging.level": ("DEBUG", lambda: logging.getLevelName(settings.log_level())),
    "task_runner": ("threads", settings.task_runner),
    "task_calls": ("future", settings.task_calls),
    "output": ("off", settings.output),
    "progress": (False, settings.shows_progress),
    "forward_env": (["A", "B"], settings.forwarded_variables),
}


def one() -> None: ...


def found_results() -> settings.Results:
    said = settings.results()
    assert said is not None
    return said


def value_of(found: Any, accessor: str) -> Any:
    for part in accessor.split("."):
        found = getattr(found, part)
    return found


@pytest.fixture(autouse=True)
def nothing_said(monkeypatch: pytest.MonkeyPatch) -> None:
    for bound in BOUND.values():
        monkeypatch.delenv(bound.variable, raising=False)


def test_each_setting_is_tested() -> None:
    assert list(VALUES) == list(BOUND)
    assert {bound.variable for bound in BOUND.values()} == environment.KNOWN


def test_what_is_no_setting_is_not_taken_along(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TASKYARD_SOME_TOKEN", "secret")
    assert "secret" not in str(serialize_context())
    assert "secret" not in str(get_current_settings().to_environment_variables())


@pytest.mark.parametrize("accessor", VALUES)
def test_a_setting_is_what_the_code_reads(accessor: str) -> None:
    value, reads = VALUES[accessor]
    before = value_of(get_current_settings(), accessor)
    with temporary_settings({accessor: value}) as inside:
        expected = Path(value) if accessor == "home" else value
        assert value_of(inside, accessor) == reads() == expected != before
        assert inside.to_environment_variables() == {
            BOUND[accessor].variable: os.environ[BOUND[accessor].variable]
        }
    assert value_of(get_current_settings(), accessor) == before
    assert BOUND[accessor].variable not in os.environ


@pytest.mark.parametrize("name", NAMES)
def test_a_setting_has_the_name_that_programs_know(name: str) -> None:
    setting = getattr(settings, name)
    value, _ = VALUES[setting.accessor]
    with temporary_settings({setting: value}) as inside:
        assert setting.value() == setting.value_from(inside) == value_of(inside, setting.accessor)
    assert setting == getattr(settings, name)
    assert repr(setting) == f"<{name}>"


def test_two_names_of_a_setting_are_equal() -> None:
    from taskyard.settings import TASKYARD_API_URL, TASKYARD_SERVER  # type: ignore[attr-defined]  # made when asked

    assert len({TASKYARD_API_URL, TASKYARD_SERVER}) == 1
    assert not TASKYARD_API_URL


def test_what_a_task_says_itself_counts() -> None:
    with temporary_settings({"tasks.default_retries": 3, "tasks.default_retry_delay_seconds": 5}):
        assert (task(one).retries, task(one).retry_delay_seconds) == (3, 5.0)
        said = task(retries=0, retry_delay_seconds=1)(one)
        assert (said.retries, said.retry_delay_seconds, flow(one).retries) == (0, 1, 0)
        assert task(one).with_options(retries=1).retries == 1
    assert task(one).retries == 0


@pytest.mark.parametrize(
    ("variable", "word"),
    [
        ("TASKYARD_TASKS_DEFAULT_RETRIES", "many"),
        ("TASKYARD_TASKS_DEFAULT_RETRIES", "-1"),
        ("TASKYARD_TASKS_DEFAULT_RETRY_DELAY_SECONDS", "soon"),
        ("TASKYARD_TASKS_DEFAULT_RETRY_DELAY_SECONDS", "[1, -1]"),
        ("TASKYARD_TASKS_DEFAULT_RETRY_DELAY_SECONDS", "true"),
    ],
)
def test_a_variable_that_says_nonsense_is_named(
    monkeypatch: pytest.MonkeyPatch, variable: str, word: str
) -> None:
    monkeypatch.setenv(variable, word)
    with pytest.raises(ValueError, match=f"{variable} is '"):
        task(one)
    with pytest.raises(ValueError, match=f"{variable} is '"):
        get_current_settings()


def test_a_value_that_cannot_be_is_refused_and_changes_nothing() -> None:
    before = dict(os.environ)
    for wrong in ({"tasks.default_retries": "x"}, {"results.persist_by_default": 1}, {"output": "loud"}):
        with pytest.raises(ValueError, match=r"expected|must be"), temporary_settings(wrong):
            pass
    with pytest.raises(KeyError, match=r"no setting 'server\.port' here; there are: home, api\.url"):
        temporary_settings({"server.port": 1}).__enter__()
    assert dict(os.environ) == before


@pytest.mark.parametrize(
    "wrong", [{"output": "off", "logging.level": "LOUD"}, {"output": "off", "home": "a\0b"}]
)
def test_a_value_that_cannot_be_set_leaves_nothing_of_its_block(wrong: dict[str, Any]) -> None:
    """Blocks before and after are as they were, and so is what they restore."""
    before, level = dict(os.environ), logging.getLogger("taskyard").level
    with temporary_settings({"output": "prefixed"}):
        with pytest.raises(ValueError, match=r"LOUD|null character"), temporary_settings(wrong):
            pass
        assert settings.output() == "prefixed"
    assert dict(os.environ) == before
    assert logging.getLogger("taskyard").level == level


def test_threads_that_change_settings_at_once_leave_what_was_there() -> None:
    before = dict(os.environ)
    wrong: list[str] = []

    def change(name: str) -> None:
        for _ in range(200):
            with temporary_settings({"output": name, "logging.level": "ERROR"}):
                if settings.output() not in ("off", "prefixed") or settings.log_level() != logging.ERROR:
                    wrong.append(settings.output())

    threads = [threading.Thread(target=change, args=[name]) for name in ("off", "prefixed") * 2]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert (wrong, dict(os.environ)) == ([], before)


def test_variables_say_what_was_given_too(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TASKYARD_OUTPUT", "off")
    monkeypatch.setenv("TASKYARD_SERVER", "127.0.0.1:1")
    given = Settings(output="prefixed", api={"url": None}, progress=False)
    found = given.to_environment_variables()
    assert found == {"TASKYARD_OUTPUT": "prefixed", "TASKYARD_PROGRESS": "off"}


def test_a_section_that_is_not_there_says_which_are() -> None:
    with pytest.raises(AttributeError, match=r"no setting 'server' here; there are: home, api.*coming-from"):
        get_current_settings().server  # noqa: B018
    with pytest.raises(AttributeError, match="no setting 'refresh_cache' here"):
        get_current_settings().tasks.refresh_cache  # noqa: B018
    assert not hasattr(Settings(), "cloud")
    assert pickle.loads(pickle.dumps(get_current_settings())) == get_current_settings()


def test_defaults_are_for_what_nothing_is_said_of() -> None:
    with temporary_settings({"output": "off"}):
        with temporary_settings(set_defaults={"output": "raw", "task_calls": "future"}) as inside:
            assert (inside.output, inside.task_calls) == ("off", "future")
        with temporary_settings(restore_defaults=["output"]) as inside:
            assert inside.output == "raw"
        with temporary_settings({"output": None}) as inside:
            assert inside.output == "raw"
        assert settings.output() == "off"


def test_blocks_may_overlap_in_any_order(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TASKYARD_OUTPUT", "raw")
    first, second = set_variables({"TASKYARD_OUTPUT": "off"}), set_variables({"TASKYARD_OUTPUT": "prefixed"})
    first.__enter__()
    second.__enter__()
    first.__exit__(None, None, None)
    assert settings.output() == "prefixed"
    second.__exit__(None, None, None)
    assert settings.output() == "raw"


def test_other_threads_have_the_same_settings() -> None:
    seen: list[str] = []
    with temporary_settings({"output": "off"}):
        thread = threading.Thread(target=lambda: seen.append(settings.output()))
        thread.start()
        thread.join()
    assert seen == ["off"]


def test_loggers_follow_the_level() -> None:
    logger = logging.getLogger("taskyard")
    before = logger.level
    with temporary_settings({"logging.level": "ERROR"}):
        assert logger.level == logging.ERROR
        with temporary_settings({"logging.level": "DEBUG"}):
            assert logger.level == logging.DEBUG
        assert logger.level == logging.ERROR
    assert logger.level == before


def test_settings_are_a_context() -> None:
    with temporary_settings({"output": "off"}):
        kept = get_settings_context()
    assert SettingsContext.get().settings.output == "raw"
    with kept as entered:
        assert (entered.settings.output, settings.output()) == ("off", "off")
    assert settings.output() == "raw"
