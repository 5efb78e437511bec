"""CacheService: what is cached, of which run, and clearing it."""

from typing import Any

import grpc
import pytest

from taskyard_api.v1 import cache_service_pb2 as pb
from taskyard_api.v1 import common_pb2, run_service_pb2, states_pb2, template_pb2
from taskyard_contract.errors import InvalidRequest, NamespaceNotFound
from taskyard_contract.id_factory import new_id
from taskyard_contract.states import RunState, StateReason
from taskyard_contract.transport.rpc_errors import from_rpc_error


def submit(served: Any, *keys: str, expiration_ms: int = 0) -> list[bytes]:
    template = template_pb2.RunTemplate(
        kind=states_pb2.RUN_KIND_TASK,
        name="add",
        task_key="key-add",
        queue="default",
        encoding="json/plain",
        code=template_pb2.Code(task_name="add"),
        cache_expiration_ms=expiration_ms,
    )
    args = common_pb2.Payload(encoding="json/plain", data=b"x")
    runs = [
        run_service_pb2.NewRun(run_id=new_id(), template=template, args=args, cache_key=key) for key in keys
    ]
    served.runs.SubmitRuns(run_service_pb2.SubmitRunsRequest(runs=runs), timeout=10)
    return [run.run_id for run in runs]


def compute(served: Any, agent: Any, *keys: str, **options: Any) -> list[bytes]:
    """Fill the cache."""
    ids = submit(served, *keys, **options)
    for epoch, run_id in agent.take(len(keys)):
        agent.report(epoch, run_id, b"42")
    agent.wait_reported()
    return ids


def entries(served: Any) -> list[pb.CacheEntry]:
    return list(served.cache.ListCacheEntries(pb.ListCacheEntriesRequest(), timeout=10).entries)


def test_an_entry_names_the_run_that_computed_it(served: Any, agent: Any) -> None:
    [run_id] = compute(served, agent, "k", expiration_ms=1000)
    [listed] = entries(served)
    run = served.get(run_id)
    assert listed == pb.CacheEntry(
        key="k", run_id=run_id, run_name=run.name, task_name="add", task_key="key-add",
        ended_us=run.ended_us, expires_us=run.ended_us + 1_000_000,
    )  # fmt: skip
    assert served.cache.GetCacheEntry(pb.GetCacheEntryRequest(key="k"), timeout=10).entry == listed
    assert not served.cache.GetCacheEntry(pb.GetCacheEntryRequest(key="x"), timeout=10).HasField("entry")


def test_a_run_that_took_its_result_from_the_cache_names_the_other(served: Any, agent: Any) -> None:
    [source] = compute(served, agent, "k")
    [taken] = submit(served, "k")
    request = run_service_pb2.WaitRunRequest(run_id=taken, timeout_ms=10_000)
    run = served.runs.WaitRun(request, timeout=20).run
    assert (run.state, run.reason) == (RunState.COMPLETED, StateReason.CACHED)
    assert (run.cached_run_id, served.get(source).cached_run_id) == (source, b"")


def test_entries_are_listed_in_pages(served: Any, agent: Any) -> None:
    keys = ["a" * 1000, "b", "c\u00e4", "d", "e"]
    compute(served, agent, *keys)
    seen, token = list[str](), ""
    while True:
        request = pb.ListCacheEntriesRequest(page_size=2, page_token=token)
        page = served.cache.ListCacheEntries(request, timeout=10)
        seen += [entry.key for entry in page.entries]
        token = page.next_page_token
        if not token:
            break
    assert sorted(seen) == sorted(keys)


def test_cleared_keys_are_executed_again(served: Any, agent: Any) -> None:
    compute(served, agent, "one", "two", "three")
    assert served.cache.ClearCache(pb.ClearCacheRequest(key="one"), timeout=10).removed == 1
    assert served.cache.ClearCache(pb.ClearCacheRequest(ended_before_us=1), timeout=10).removed == 0
    assert sorted(entry.key for entry in entries(served)) == ["three", "two"]
    assert served.cache.ClearCache(pb.ClearCacheRequest(all=True), timeout=10).removed == 2
    assert entries(served) == []
    [again] = submit(served, "two")
    assert [run_id for _, run_id in agent.take(1)] == [again]


@pytest.mark.parametrize(
    ("method", "request_", "kind"),
    [
        ("ListCacheEntries", pb.ListCacheEntriesRequest(page_token="nonsense"), InvalidRequest),
        ("ListCacheEntries", pb.ListCacheEntriesRequest(page_token="AgE"), InvalidRequest),
        ("GetCacheEntry", pb.GetCacheEntryRequest(), InvalidRequest),
        ("ClearCache", pb.ClearCacheRequest(), InvalidRequest),
        ("ClearCache", pb.ClearCacheRequest(key="k", all=True), InvalidRequest),
        ("ClearCache", pb.ClearCacheRequest(ended_before_us=-1), InvalidRequest),
        ("ClearCache", pb.ClearCacheRequest(all=True, namespace="other"), NamespaceNotFound),
    ],
)
def test_what_makes_no_sense_is_refused(served: Any, method: str, request_: Any, kind: type) -> None:
    with pytest.raises(grpc.RpcError) as caught:
        getattr(served.cache, method)(request_, timeout=10)
    assert type(from_rpc_error(caught.value)) is kind
