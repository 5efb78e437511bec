"""Stores and records, used by themselves; plans of tasks; what travels instead of a value."""

import asyncio
import pickle
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from support.pickle_names import names_in

from taskyard import flow, task
from taskyard._engine.results.plans import ResultPlan, safe_key
from taskyard._engine.results.storages import DirectoryStorage
from taskyard.exceptions import DamagedResult, MissingResult, NotSerializable
from taskyard.results import (
    ResultRecord,
    ResultStore,
    get_default_result_serializer,
    get_default_result_storage,
    get_result_store,
    should_persist_result,
)
from taskyard.serializers import JSONSerializer, Serializer
from taskyard_contract.pickling import dumps, loads

RUN = bytes(16)


@pytest.fixture
def store(tmp_path: Path) -> ResultStore:
    return ResultStore(result_storage=tmp_path, cache_result_in_memory=False)


class Shouting(Serializer):
    type: str = "tests/shouting"

    def dumps(self, obj: Any) -> bytes:
        return str(obj).upper().encode()

    def loads(self, blob: bytes) -> Any:
        return blob.decode()


class Wrong(Shouting):
    type: str = "tests/wrong"

    def dumps(self, obj: Any) -> Any:
        return "text"


def test_row_22_a_store_writes_and_reads_records(store: ResultStore) -> None:
    record = store.write({"a": 1}, key="k")
    assert record.metadata.storage_key == "k"
    read = store.read("k")
    assert (read.result, read.metadata) == ({"a": 1}, record.metadata)
    assert read.metadata.digest
    assert read.metadata.size > 0
    assert store.exists("k")
    assert not store.exists("other")


def test_row_22_the_same_without_blocking_the_loop(store: ResultStore) -> None:
    async def all_of_it() -> Any:
        await store.awrite(5, key="k")
        return (await store.aread("k")).result, await store.aexists("k")

    assert asyncio.run(all_of_it()) == (5, True)


def test_row_22_a_record_says_what_it_is_in_its_first_line(store: ResultStore, tmp_path: Path) -> None:
    ResultStore(result_storage=tmp_path, serializer="json").write([1, 2], key="k")
    head, body = (tmp_path / "k").read_bytes().split(b"\n")
    assert body == b"[1,2]"
    assert b'"serializer": {"type": "json"}' in head
    assert store.read("k").result == [1, 2], "records are read by what they say wrote them"


def test_row_22_a_missing_record_says_where(store: ResultStore, tmp_path: Path) -> None:
    with pytest.raises(MissingResult, match=f"there is no result at {tmp_path}/k: it was deleted"):
        store.read("k")


@pytest.mark.parametrize("damage", [b"", b"{}\nx", b"no json\nx", b'{"taskyard_result": 9}\n', b"\xff\n"])
def test_what_is_no_record_is_damaged(store: ResultStore, tmp_path: Path, damage: bytes) -> None:
    (tmp_path / "k").write_bytes(damage)
    with pytest.raises(DamagedResult, match=f"the result at {tmp_path}/k cannot be read"):
        store.read("k")
    assert not store.exists("k")


def test_every_flipped_byte_of_a_value_and_every_torn_end_is_found(
    store: ResultStore, tmp_path: Path
) -> None:
    store.write("value", key="k")
    whole = (tmp_path / "k").read_bytes()
    start = whole.index(b"\n") + 1
    damaged = [whole[:end] for end in range(len(whole))]
    damaged += [whole[:at] + bytes([whole[at] ^ 1]) + whole[at + 1 :] for at in range(start, len(whole))]
    for data in damaged:
        (tmp_path / "k").write_bytes(data)
        with pytest.raises(DamagedResult):
            store.read("k")


def test_row_22_a_serializer_that_is_not_known_here_is_named(store: ResultStore, tmp_path: Path) -> None:
    store.write("x", key="k")
    whole = (tmp_path / "k").read_bytes().replace(b'"pickle"', b'"klingon"')
    (tmp_path / "k").write_bytes(whole)
    with pytest.raises(DamagedResult, match="there is no serializer 'klingon'"):
        store.read("k")


def test_row_17_an_expired_record_exists_no_more_and_can_still_be_read(tmp_path: Path) -> None:
    store = ResultStore(result_storage=tmp_path, cache_expiration=timedelta(seconds=-1))
    store.write(1, key="k")
    assert not store.exists("k")
    assert store.read("k").result == 1
    store.write(2, key="k", expiration=datetime.now(UTC) + timedelta(hours=1))
    assert store.exists("k")
    assert ResultStore(result_storage=tmp_path, cache_expiration=timedelta.max).write(1).expiration is None


def test_row_26_what_was_read_is_kept_unless_that_is_not_wanted(tmp_path: Path) -> None:
    keeping, forgetting = (
        ResultStore(result_storage=tmp_path, cache_result_in_memory=keeps) for keeps in (True, False)
    )
    keeping.write([1], key="k")
    assert keeping.read("k").result is keeping.read("k").result
    assert forgetting.read("k").result is not forgetting.read("k").result
    for number in range(1001):
        keeping.write(number, key=f"n{number}")
        keeping.read(f"n{number}")
    assert len(keeping._kept) == 1000


def test_row_24_a_store_of_a_task_has_the_options_of_the_task(tmp_path: Path) -> None:
    @task(result_storage=tmp_path / "task", result_serializer="json", cache_expiration=timedelta(1))
    def one() -> None: ...

    with ResultStore(result_storage=tmp_path / "own").update_for_task(one) as store:
        assert store.where("k") == f"{tmp_path}/task/k"
        assert store.serializer == JSONSerializer()
        assert store.write(1).expiration is not None
    bare = ResultStore(result_storage=tmp_path / "own").update_for_flow(flow(lambda: None))
    assert bare.where("k") == f"{tmp_path}/own/k"


def test_row_23_defaults_come_from_the_environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TASKYARD_HOME", str(tmp_path))
    assert get_default_result_storage() == f"{tmp_path}/storage"
    assert get_default_result_serializer().type == "pickle"
    assert not should_persist_result()
    monkeypatch.setenv("TASKYARD_RESULTS_LOCAL_STORAGE_PATH", f"{tmp_path}/local")
    assert get_result_store().where("k") == f"{tmp_path}/local/k"
    monkeypatch.setenv("TASKYARD_RESULTS_DEFAULT_STORAGE", f"{tmp_path}/chosen")
    monkeypatch.setenv("TASKYARD_RESULTS_DEFAULT_SERIALIZER", "json")
    monkeypatch.setenv("TASKYARD_RESULTS_PERSIST_BY_DEFAULT", "on")
    assert get_default_result_storage() == f"{tmp_path}/chosen"
    assert get_default_result_serializer().type == "json"
    assert should_persist_result()
    monkeypatch.setenv("TASKYARD_RESULTS_PERSIST_BY_DEFAULT", "maybe")
    with pytest.raises(ValueError, match="PERSIST_BY_DEFAULT is 'maybe'; expected on or off"):
        should_persist_result()


def plan(tmp_path: Path, serializer: Any = None, key: str | None = None, lifetime: Any = None) -> ResultPlan:
    return ResultPlan("one", str(tmp_path), serializer, key, lifetime)


def test_row_24_keys_are_templates_cache_keys_or_the_run_and_its_attempt(tmp_path: Path) -> None:
    assert plan(tmp_path, key="{parameters[x]}.csv").key("c", {"x": 1}, RUN, 1) == "1.csv"
    assert plan(tmp_path).key("abc", {}, RUN, 1) == "abc"
    assert plan(tmp_path).key("", {}, RUN, 0x1F) == "0" * 32 + "-1f"
    with pytest.raises(ValueError, match=r"result_storage_key='\{x\}' of 'one' cannot be filled \(KeyError"):
        plan(tmp_path, key="{x}").key("", {}, RUN, 1)
    with pytest.raises(ValueError, match="makes an empty key"):
        plan(tmp_path, key="{parameters[x]}").key("", {"x": ""}, RUN, 1)


@pytest.mark.parametrize("key", ["../x", "a/b", ".hidden", "", "x" * 300, "ü", "a\nb"])
def test_cache_keys_that_are_no_file_names_are_hashed(key: str) -> None:
    assert safe_key(key).startswith("sha256-")
    assert safe_key("a.b-c_1") == "a.b-c_1"


def test_b5_a_record_stands_for_a_run_while_it_is_there_whole_and_not_expired(tmp_path: Path) -> None:
    lasting = plan(tmp_path)
    assert lasting.find("k", "k") is None
    lasting.store((1, 2), "k", "k")
    found = lasting.find("k", "k")
    assert found is not None
    assert found.value() == (1, 2)
    assert lasting.find("k", "another key") is None, "it is of a run with another cache key"
    assert plan(tmp_path, "json").find("k", "k") is None, "another serializer wrote it"
    plan(tmp_path, lifetime=timedelta(seconds=-1)).store(1, "k", "k")
    assert lasting.find("k", "k") is None
    (tmp_path / "k").write_bytes(b"{")
    assert lasting.find("k", "k") is None


def test_what_travels_instead_of_a_value_is_read_by_unpickling(tmp_path: Path) -> None:
    stored = plan(tmp_path, "json").store((1, 2), "k", "")
    data = dumps(stored)
    assert names_in(data) == {"taskyard._durable_names:stored_result"}
    assert loads(data) == [1, 2]
    (tmp_path / "k").unlink()
    with pytest.raises(MissingResult, match=f"no result at {tmp_path}/k.*written by .*result_storage that"):
        loads(data)


def test_without_a_storage_the_value_travels_as_its_serializer_wrote_it() -> None:
    stored = ResultPlan("one", None, Shouting(), None, None).store("abc", "k", "")
    assert loads(dumps(stored)) == stored.value() == "ABC"


def test_what_a_serializer_refuses_is_said_with_its_name(tmp_path: Path) -> None:
    with pytest.raises(NotSerializable, match="'one' returned a object that the serializer 'json' cannot"):
        plan(tmp_path, "json").store(object(), "k", "")
    with pytest.raises(NotSerializable, match="wrote a str, no bytes"):
        plan(tmp_path, Wrong()).store("x", "k", "")
    assert list(tmp_path.iterdir()) == []


def test_records_are_equal_by_what_they_hold() -> None:
    record: ResultRecord[Any] = ResultStore().create_result_record([1], key="k")
    assert ResultRecord.deserialize(record.serialize()) == record
    assert pickle.loads(pickle.dumps(record)) == record
    assert isinstance(ResultStore(result_storage="./x")._storage, DirectoryStorage)
