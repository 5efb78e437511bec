"""Options about results: what each means, and who inherits what."""

import logging
from pathlib import Path
from typing import Any

import pytest

from taskyard import flow, task
from taskyard._engine.results.inheriting import Inherited, inherited_from, inherited_from_settings
from taskyard._engine.results.storages import DirectoryStorage
from taskyard.cache_policies import DEFAULT, INPUTS, NO_CACHE
from taskyard.exceptions import ConfigurationError
from taskyard_contract.pickling import dumps, loads


def one(x: int = 0) -> int:
    return x


def test_row_22_nothing_said_means_that_the_control_plane_keeps_results() -> None:
    plain = task(one)
    assert (plain.results, plain.reading, plain.cache_policy) == (None, None, None)
    assert task(persist_result=True)(one).results is None


@pytest.mark.parametrize("option", [{"result_storage": "/r"}, {"result_serializer": "json"}])
def test_row_22_storage_and_serializer_turn_persisting_on(option: Any) -> None:
    made = task(**option)(one)
    assert made.settings.persists
    assert made.cache_policy == DEFAULT
    assert made.results is not None
    off = task(**option, persist_result=False)(one)
    assert (off.results, off.cache_policy) == (None, None)


def test_row_22_false_forces_no_cache_with_a_warning(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING, "taskyard.tasks"):
        assert task(result_storage="/r", cache_policy=INPUTS, persist_result=False)(one).cache_policy is None
    assert "is not cached, because it has persist_result=False" in caplog.text


def test_row_25_an_encoding_and_a_serializer_exclude_each_other() -> None:
    with pytest.raises(ConfigurationError, match="task 'one' has result_encoding='json' and result_storage"):
        task(result_encoding="json", result_storage="/r")(one)


def test_row_26_in_memory_is_true_or_false() -> None:
    assert task(one).cache_result_in_memory
    assert not task(cache_result_in_memory=False)(one).cache_result_in_memory
    with pytest.raises(TypeError, match="'cache_result_in_memory' must be True or False"):
        task(cache_result_in_memory=1)(one)  # type: ignore[call-overload]


def test_with_options_replaces_them() -> None:
    made = task(result_storage="/r", result_serializer="json")(one).with_options(result_storage="/s")
    assert (made.result_storage, made.result_serializer) == ("/s", "json")
    assert made.with_options(result_storage=None, result_serializer=None).results is None


def test_a_task_with_them_travels_with_them() -> None:
    made = task(result_storage="/r", result_serializer="json", cache_result_in_memory=False)(one)
    came = loads(dumps(made))
    assert came.settings == made.settings
    assert came.results.storage == DirectoryStorage("/r")


def inside(*, outer: Inherited | None = None, **options: Any) -> Inherited:
    return inherited_from(flow(**options)(one).settings, outer)


def gained(inherited: Inherited, **options: Any) -> Any:
    heir = task(**options)(one).inheriting(inherited)
    return heir.persist_result, heir.result_storage, getattr(heir.result_serializer, "type", None)


def test_b12_a_task_goes_before_its_flow() -> None:
    around = inside(result_storage="/flow", result_serializer="json")
    assert gained(around) == (True, "/flow", "json")
    assert gained(around, result_storage="/task") == (None, "/task", "json")
    assert gained(around, persist_result=False) == (False, None, None)
    assert gained(around, result_encoding="json") == (True, None, None)
    assert gained(around, cache_policy=INPUTS) == (None, "/flow", "json")
    assert gained(around, cache_policy=NO_CACHE) == (True, "/flow", "json")
    assert gained(inside(persist_result=False)) == (False, None, None)
    assert gained(inside(persist_result=True)) == (True, None, None)


def test_b12_a_flow_goes_before_the_flow_around_it() -> None:
    outer = inside(result_storage="/outer", result_serializer="json")
    assert gained(inside(result_storage="/inner", outer=outer)) == (True, "/inner", "json")
    assert gained(inside(persist_result=False, outer=outer)) == (False, None, None)


def test_b12_a_flow_goes_before_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    assert inherited_from_settings() is None
    monkeypatch.setenv("TASKYARD_RESULTS_DEFAULT_STORAGE", "/settings")
    storage_alone = inherited_from_settings()
    assert storage_alone is not None
    assert gained(storage_alone) == (None, None, None), "it says where, not that"
    assert gained(storage_alone, persist_result=True) == (True, "/settings", None)
    monkeypatch.setenv("TASKYARD_RESULTS_PERSIST_BY_DEFAULT", "true")
    monkeypatch.setenv("TASKYARD_TASKS_DEFAULT_PERSIST_RESULT", "false")
    said = inherited_from_settings()
    assert said is not None
    assert gained(said) == (False, None, None), "tasks are told for themselves"
    heir = flow(one).inheriting(said)
    assert (heir.persist_result, heir.result_storage) == (True, "/settings")
    around = inherited_from(flow(persist_result=True, result_storage="/flow")(one).settings, said)
    assert gained(around) == (False, None, None)
    assert gained(around, persist_result=True) == (True, "/flow", None)


def test_a_task_that_inherits_is_made_once_and_one_that_does_not_is_itself(tmp_path: Path) -> None:
    made = task(one)
    around = inside(result_storage=tmp_path)
    assert made.inheriting(around) is made.inheriting(inside(result_storage=tmp_path))
    assert made.inheriting(around).task_key == made.task_key
    full = task(result_storage=tmp_path, result_serializer="json")(one)
    assert full.inheriting(around) is full
    for number in range(200):
        made.inheriting(inside(result_storage=tmp_path / str(number)))
    assert len(made._heirs) <= 64
