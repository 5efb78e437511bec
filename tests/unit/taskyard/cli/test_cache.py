import pytest
from support.fake_services import START_US, make_run, run_id

from taskyard_api.v1 import cache_service_pb2 as pb
from taskyard_contract.ids import format_id
from taskyard_contract.states import StateReason


def entry(number: int, **fields) -> pb.CacheEntry:
    usual = {
        "key": f"key-{number}",
        "run_id": run_id(number),
        "run_name": f"add-{number}",
        "task_name": "add",
        "task_key": "k",
        "ended_us": START_US,
    }
    return pb.CacheEntry(**{**usual, **fields})


def test_entries_of_all_pages_are_listed(services, call):
    services.cached = [entry(number) for number in range(5)]
    heading, *lines = call("cache", "ls").lines
    assert heading.split() == ["NAME", "COMPUTED", "EXPIRES", "RUN", "KEY"]
    assert [line.split()[-1] for line in lines] == [f"key-{number}" for number in range(5)]
    assert lines[1].split()[0] == "add-1"
    assert lines[1].split()[3:] == ["never", format_id(run_id(1)), "key-1"]
    assert len(call("cache", "ls", "--limit", "2").lines) == 3


def test_only_those_of_a_task(services, call):
    services.cached = [entry(1), entry(2, task_name="other"), entry(3)]
    assert [one["key"] for one in call("cache", "ls", "--task", "other", "--json").document] == ["key-2"]
    assert call("cache", "ls", "--task", "nobody").out == "no cached results\n"


def test_an_entry_is_shown_by_its_key(services, call):
    services.cached = [entry(1, expires_us=START_US + 1_000_000)]
    lines = [line.split() for line in call("cache", "show", "key-1").lines]
    assert ["result", "of", format_id(run_id(1)), "(add-1)"] in lines
    assert call("cache", "show", "key-1", "--json").document == {
        "key": "key-1",
        "run_id": format_id(run_id(1)),
        "run_name": "add-1",
        "task_name": "add",
        "task_key": "k",
        "ended": "2026-01-01T00:00:00.000+00:00",
        "expires": "2026-01-01T00:00:01.000+00:00",
    }


def test_a_key_without_a_result_is_said(services, call):
    ended = call("cache", "show", "nothing")
    assert (ended.code, ended.out) == (1, "")
    assert "no result under the cache key 'nothing'" in ended.err


@pytest.mark.parametrize(
    ("options", "asked"),
    [
        (["--key", "key-1"], pb.ClearCacheRequest(key="key-1")),
        (["--all"], pb.ClearCacheRequest(all=True)),
        (["--older-than", "2026-01-01T00:00+00:00"], pb.ClearCacheRequest(ended_before_us=START_US)),
    ],
)
def test_what_is_cleared_is_said_exactly(services, call, options, asked):
    services.cached = [entry(1)]
    assert call("cache", "clear", *options).out == "removed 1 cached result\n"
    assert services.asked == [asked]


@pytest.mark.parametrize(
    "options", [[], ["--all", "--key", "k"], ["--older-than", "soon"], ["--all", "--older-than", "3d"]]
)
def test_clearing_without_saying_what_is_a_mistake(services, call, options):
    assert call("cache", "clear", *options).code == 2
    assert services.asked == []


def test_a_run_whose_result_was_cached_names_the_other(services, call):
    services.runs = [make_run(1, reason=StateReason.CACHED, cached_run_id=run_id(2)), make_run(2)]
    lines = [line.split() for line in call("run", "show", "add-1").lines]
    assert ["result", "of", format_id(run_id(2)), "(add-2)"] in lines
    assert call("run", "show", "add-1", "--json").document["cached_run_id"] == format_id(run_id(2))
    assert call("run", "show", "add-2", "--json").document["cached_run_id"] is None
