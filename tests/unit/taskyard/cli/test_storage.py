"""``taskyard prune`` and ``taskyard storage show``."""

import pytest

from taskyard_api.v1 import admin_service_pb2 as pb
from taskyard_contract.states import RunState

FOUND = pb.PruneResponse(runs=2, logs=1, cache_entries=1, blobs=3, blob_bytes=1_234_567, done=True)


def test_what_would_go_is_said_and_nothing_goes(services, call):
    services.pruned = FOUND
    said = call("prune", "--dry-run").out
    assert said == "would be removed: 2 runs, 0 bytes of logs, 1 cached result, 3 blobs (1.2 MB)\n"
    assert [request.dry_run for request in services.asked] == [True]


def test_what_is_due_goes_without_a_question(services, call):
    services.pruned = FOUND
    assert call("prune").out == "removed: 2 runs, 0 bytes of logs, 1 cached result, 3 blobs (1.2 MB)\n"
    assert [request.dry_run for request in services.asked] == [True, False]
    assert not services.asked[-1].HasField("older_than_ms")


def test_what_is_not_due_goes_only_when_somebody_says_so(services, call):
    services.pruned = FOUND
    refused = call("prune", "--older-than", "0")
    assert (refused.code, len(services.asked)) == (1, 1)
    assert "--yes" in refused.err
    assert call("prune", "--older-than", "7d", "--state", "failed", "--yes").code == 0
    last = services.asked[-1]
    assert (last.dry_run, last.older_than_ms, list(last.states)) == (False, 7 * 86_400_000, [RunState.FAILED])


def test_it_says_when_the_disk_is_free(services, call):
    services.pruned = pb.PruneResponse(runs=1, waiting_blobs=2, free_in_ms=55_000, done=True)
    assert "2 blobs of these leave the disk within 60 s" in call("prune").out
    assert call("prune", "--json").document["free_in_ms"] == 55_000


def test_waiting_for_the_disk_ends_when_it_is_free(services, call):
    services.pruned = pb.PruneResponse(runs=1, waiting_blobs=2, free_in_ms=1, done=True)
    assert "removed: 1 run, 0 bytes of logs, 0 cached results, 2 blobs" in call("prune", "--wait").out


@pytest.mark.parametrize(
    ("arguments", "why"),
    [
        (("--older-than", "soon"), "no length of time"),
        (("--state", "running"), "no run ends"),
        (("--state", "x"), "not a state"),
    ],
)
def test_what_makes_no_sense_is_refused(arguments, why, call):
    refused = call("prune", *arguments)
    assert refused.code == 2
    assert why in refused.err


def test_what_takes_the_room_is_shown(services, call):
    services.storage = pb.GetStorageResponse(
        database_bytes=5_000_000,
        database_free_bytes=1_000,
        blob_store="/home/x/blobs",
        blob_store_free_bytes=10**10,
        blobs=[pb.BlobUsage(use=pb.BLOB_USE_RESULTS, blobs=3, size=60_000_000)],
        limit_bytes=10**10,
        keep_runs_ms=30 * 86_400_000,
    )
    shown = " ".join(call("storage", "show").out.split())
    for part in (
        "5.0 MB, 1.0 kB free",
        "results 60.0 MB in 3 blobs",
        "free there 10.0 GB",
        "runs are kept 30 days",
        "logs are kept for ever",
        "limit 10.0 GB",
    ):
        assert part in shown
    document = call("storage", "show", "--json").document
    assert document["blobs"] == {"results": {"blobs": 3, "size": 60_000_000}}
    assert document["keep_logs_ms"] is None
