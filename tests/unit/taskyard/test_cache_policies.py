import pickle
import threading
from types import SimpleNamespace
from typing import Any
from uuid import UUID

import pytest

from taskyard import remote_task, task
from taskyard._data.values.hashing import code_fingerprint, hash_objects
from taskyard.cache_policies import (
    DEFAULT,
    FLOW_PARAMETERS,
    INPUTS,
    NO_CACHE,
    RUN_ID,
    TASK_SOURCE,
    CacheKeyFnPolicy,
    CachePolicy,
    CompoundCachePolicy,
    Inputs,
    StorageKeyPolicy,
)
from taskyard.context import TaskRun, TaskRunContext
from taskyard.exceptions import ConfigurationError
from taskyard.locking.memory import MemoryLockManager
from taskyard.transactions import IsolationLevel

TASK_ID, FLOW_ID = b"t" * 16, b"f" * 16


def f(x: int) -> int:
    return x


def context(flow_run_id: bytes = FLOW_ID, source: str = "") -> TaskRunContext:
    task = SimpleNamespace(fn=f, is_remote=False, settings=SimpleNamespace(source_code=source))
    run = TaskRun(TASK_ID, "f-0", task_name="f", flow_run_id=flow_run_id, flow_run_name="brave-otter")
    return TaskRunContext(task, run, {})


def key(policy: CachePolicy, inputs: dict[str, Any] | None = None, **flow_parameters: Any) -> str | None:
    return policy.compute_key(context(), inputs or {}, flow_parameters)


def test_b5_5_inputs_hash_the_parameters() -> None:
    assert key(INPUTS, {"x": 1, "y": 2}) == key(INPUTS, {"y": 2, "x": 1})
    assert key(INPUTS, {"x": 1}) != key(INPUTS, {"x": 2})
    assert key(INPUTS) is None


def test_b5_5_a_subtracted_parameter_does_not_count() -> None:
    policy = INPUTS - "y"
    assert key(policy, {"x": 1, "y": 2}) == key(policy, {"x": 1, "y": 3})
    assert key(policy, {"x": 1, "y": 2}) != key(policy, {"x": 2, "y": 2})
    assert policy == Inputs(frozenset({"y"}))


def test_b5_5_inputs_without_a_form_name_the_remedies() -> None:
    class Stubborn:
        def __reduce__(self) -> Any:
            raise RuntimeError("not me")

    with pytest.raises(ValueError, match=r"INPUTS - 'x'.*cache_policy=NO_CACHE"):
        key(INPUTS, {"w": 1, "x": [Stubborn()], "y": 2})


def test_b5_5_task_source_is_the_source_at_definition_and_the_code() -> None:
    first, second = context(source="def f(): 1"), context(source="def f(): 2")
    assert TASK_SOURCE.compute_key(first, {}) == hash_objects("def f(): 1", code_fingerprint(f))
    assert TASK_SOURCE.compute_key(first, {}) != TASK_SOURCE.compute_key(second, {})
    assert TASK_SOURCE.compute_key(context(), {}) == hash_objects("", code_fingerprint(f))


def test_source_with_a_closure_that_cannot_be_compared_says_where_it_is() -> None:
    lock = threading.Lock()
    called = context()
    called.task.fn = lambda: lock
    with pytest.raises(ValueError, match=r"cannot pickle '_thread.lock' object.*in a closure"):
        TASK_SOURCE.compute_key(called, {})


def test_policies_that_do_not_know_the_task_are_of_inputs_alone() -> None:
    assert [policy.of_inputs_alone for policy in (INPUTS, INPUTS - "x", INPUTS + RUN_ID)] == [True] * 3
    assert not any(policy.of_inputs_alone for policy in (DEFAULT, TASK_SOURCE, RUN_ID, NO_CACHE))


def test_b5_5_flow_parameters() -> None:
    assert key(FLOW_PARAMETERS) is None
    assert key(FLOW_PARAMETERS, a=1) == key(FLOW_PARAMETERS, a=1)
    assert key(FLOW_PARAMETERS, a=1) != key(FLOW_PARAMETERS, a=2)


def test_unknown_flow_parameters_make_no_wrong_key() -> None:
    with pytest.raises(ValueError, match="not known in this process"):
        (INPUTS + FLOW_PARAMETERS).compute_key(context(), {"x": 1}, None)
    assert FLOW_PARAMETERS.compute_key(context(flow_run_id=b""), {"x": 1}, None) is None


def test_b5_5_run_id_is_the_flow_run_else_the_task_run() -> None:
    assert RUN_ID.compute_key(context(), {}) == str(UUID(bytes=FLOW_ID))
    assert RUN_ID.compute_key(context(flow_run_id=b""), {}) == str(UUID(bytes=TASK_ID))


def test_b5_5_no_cache_has_no_key_and_adds_nothing() -> None:
    assert key(NO_CACHE, {"x": 1}) is None
    assert NO_CACHE + INPUTS == INPUTS + NO_CACHE == INPUTS


def test_b5_5_a_sum_hashes_the_keys_in_order() -> None:
    assert key(TASK_SOURCE + RUN_ID) == hash_objects(key(TASK_SOURCE), key(RUN_ID))
    assert key(RUN_ID + FLOW_PARAMETERS) == hash_objects(key(RUN_ID))
    assert key(FLOW_PARAMETERS + NO_CACHE) is None
    assert key(FLOW_PARAMETERS + INPUTS) is None


def test_b5_5_inputs_are_merged_and_moved_last() -> None:
    policy = (INPUTS - "a") + TASK_SOURCE + (INPUTS - "b")
    assert isinstance(policy, CompoundCachePolicy)
    assert policy.policies == (TASK_SOURCE, Inputs(frozenset({"a", "b"})))
    assert INPUTS + RUN_ID == RUN_ID + INPUTS


def test_b5_5_subtraction_reaches_into_sums_and_ignores_the_rest() -> None:
    assert (DEFAULT - "x") == TASK_SOURCE + RUN_ID + (INPUTS - "x")
    assert RUN_ID - "x" == RUN_ID
    assert (RUN_ID + TASK_SOURCE) - "x" == RUN_ID + TASK_SOURCE


@pytest.mark.parametrize("policy", [INPUTS, RUN_ID, DEFAULT])
def test_b5_5_only_names_can_be_subtracted(policy: CachePolicy) -> None:
    with pytest.raises(TypeError, match="only names of parameters"):
        policy - 3  # type: ignore[operator]  # the mistake under test


def test_only_policies_can_be_added() -> None:
    with pytest.raises(TypeError):
        INPUTS + "x"  # type: ignore[operator]  # the mistake under test


def test_b5_5_default_is_inputs_source_and_run() -> None:
    assert DEFAULT == INPUTS + TASK_SOURCE + RUN_ID
    assert DEFAULT.needs_source
    assert not (INPUTS + RUN_ID).needs_source


def test_row_16_a_function_makes_the_key() -> None:
    policy = CachePolicy.from_cache_key_fn(
        lambda context, parameters: f"{context.flow_run_id}-{parameters['x']}"
    )
    assert key(policy, {"x": 1}) == f"{UUID(bytes=FLOW_ID)}-1"
    assert key(CacheKeyFnPolicy(lambda context, parameters: None)) is None
    with pytest.raises(ValueError, match="must return a string or None, got int"):
        key(CacheKeyFnPolicy(lambda context, parameters: 3))  # type: ignore[arg-type,return-value]


def test_row_24_a_storage_key_is_a_template() -> None:
    policy = StorageKeyPolicy("{flow_run.name}/{task_run.task_name}-{parameters[x]}.json")
    assert key(policy, {"x": 7}) == "brave-otter/f-7.json"


@pytest.mark.parametrize("policy", [DEFAULT, NO_CACHE, FLOW_PARAMETERS, INPUTS - "x"])
def test_policies_survive_pickling(policy: CachePolicy) -> None:
    assert pickle.loads(pickle.dumps(policy)) == policy


def test_the_name_and_version_of_a_remote_task_stand_for_its_source() -> None:
    def key_of(name: str, version: str | None = None) -> str | None:
        called = TaskRunContext(remote_task(name, version=version), context().task_run, {})
        return TASK_SOURCE.compute_key(called, {})

    assert key_of("a") == key_of("a")
    assert len({key_of("a"), key_of("b"), key_of("a", "2")}) == 3


def test_row_21_a_configured_policy_keeps_its_keys_and_its_configuration() -> None:
    locks = MemoryLockManager()
    made = INPUTS.configure(key_storage="/keys", lock_manager=locks, isolation_level="SERIALIZABLE")
    said = {"key_storage": "/keys", "lock_manager": locks, "isolation_level": IsolationLevel.SERIALIZABLE}
    assert INPUTS.configuration() == {}
    for policy in (
        made,
        made - "x",
        made + TASK_SOURCE,
        TASK_SOURCE + made,
        made + NO_CACHE,
        NO_CACHE + made,
    ):
        assert policy.configuration() == said
    assert ((made + TASK_SOURCE) - "x").configuration() == said
    assert made.configure(key_storage="/other").configuration() == {**said, "key_storage": "/other"}
    assert made == INPUTS
    assert pickle.loads(pickle.dumps(made)).configuration() == {"key_storage": "/keys"}


def test_b5_5_policies_that_contradict_each_other_are_not_added() -> None:
    with pytest.raises(ValueError, match="different key_storage cannot be added: '/a' and '/b'"):
        INPUTS.configure(key_storage="/a") + TASK_SOURCE.configure(key_storage="/b")
    level = INPUTS.configure(isolation_level="SERIALIZABLE")
    with pytest.raises(ValueError, match="different isolation_level cannot be added"):
        level + TASK_SOURCE.configure(isolation_level="READ_COMMITTED")


def test_row_21_a_policy_that_wants_a_lock_needs_a_lock_manager() -> None:
    def one(x: int) -> int:
        return x

    level = INPUTS.configure(isolation_level=IsolationLevel.SERIALIZABLE)
    with pytest.raises(ConfigurationError, match="'one' has the isolation level SERIALIZABLE and no lock"):
        task(cache_policy=level)(one)
    assert task(cache_policy=level.configure(lock_manager=MemoryLockManager()))(one).has_cache_key


def test_row_21_key_storage_is_where_records_are() -> None:
    def one(x: int) -> int:
        return x

    made = task(cache_policy=INPUTS.configure(key_storage="/keys"))(one)
    assert made.results is not None
    assert made.results.storage is not None
    assert made.results.storage.given == "/keys"
    assert made.with_options(cache_policy=INPUTS).results is None
    with pytest.raises(ConfigurationError, match="key_storage='/keys'; a record holds its key and its value"):
        made.with_options(result_storage="/results")
