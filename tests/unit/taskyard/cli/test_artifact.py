"""``taskyard artifact`` and ``taskyard asset``: what is shown, and each way to fail."""

import json
from datetime import datetime

from taskyard._engine.assets.asset import Asset, AssetProperties
from taskyard._engine.assets.records import Materialization, note, note_needed
from taskyard.artifacts import create_markdown_artifact, create_progress_artifact

AT = datetime.fromisoformat("2026-01-01T00:00:00+00:00")


def test_no_artifacts(services, call):
    assert call("artifact", "ls").out == "no artifacts\n"
    assert call("artifact", "ls", "--json").document == []


def test_artifacts_are_listed_by_key(services, call):
    ids = [create_markdown_artifact(str(number), key="b") for number in range(2)]
    progress = create_progress_artifact(7, key="a")
    bare = create_markdown_artifact("no key")
    heading, *lines = call("artifact", "ls").lines
    assert heading.split() == ["KEY", "TYPE", "CHANGED", "VERSIONS", "ID"]
    assert [(line.split()[0], line.split()[-2], line.split()[-1]) for line in lines] == [
        ("a", "1", str(progress)),
        ("b", "2", str(ids[1])),
    ]
    assert [each["id"] for each in call("artifact", "ls", "--all", "--json").document] == [
        str(each) for each in (*ids, progress, bare)
    ]


def test_an_artifact_is_shown(services, call):
    made = create_markdown_artifact("# Title\n\ntext", key="a", description="about it")
    lines = call("artifact", "inspect", "a").lines
    assert lines[-3:] == ["# Title", "", "text"]
    assert any(line.split() == ["about", "about", "it"] for line in lines)
    assert call("artifact", "inspect", str(made)).lines == lines
    document = call("artifact", "inspect", "a", "--json").document
    assert (document["id"], document["data"], document["metadata"]) == (str(made), "# Title\n\ntext", None)
    assert document["updated"] == "2026-01-01T00:00:00.000+00:00"


def test_artifacts_are_deleted(services, call):
    ids = [create_markdown_artifact(str(number), key="a") for number in range(3)]
    assert call("artifact", "delete", str(ids[0])).out == f"deleted {ids[0]}\n"
    assert call("artifact", "delete", "a").out == "deleted 2 versions of a\n"
    assert not [kind for kind, _ in services.documents if kind.startswith("artifact")]
    failed = call("artifact", "delete", "a")
    assert (failed.code, failed.out) == (1, "")
    assert "there is no artifact 'a'; 'taskyard artifact ls --all' shows those there are" in failed.err
    assert call("artifact", "inspect", "").code == 1


def _noted():
    orders = Asset("s3://b/orders", properties=AssetProperties(name="Orders", owners=["ada"]))
    entry = {"run_name": "load-0", "task": "load", "at": AT, "upstream": ["s3://b/raw"], "epoch": 1}
    note(orders, Materialization(run_id="1", succeeded=True, state="Completed", **entry))
    note(
        orders,
        Materialization(run_id="2", succeeded=False, state="TimedOut", metadata={"rows": 3}, **entry),
    )
    note_needed(Asset("s3://b/raw"))


def test_assets_are_listed(services, call):
    assert call("asset", "ls").out == "no assets\n"
    _noted()
    heading, *lines = call("asset", "ls").lines
    assert heading.split() == ["ASSET", "MADE", "LAST", "TASK", "TIMES"]
    assert lines[0].split()[0] == "s3://b/orders"
    assert "failed (TimedOut)" in lines[0]
    assert lines[1].split() == ["s3://b/raw", "needed", "0"]
    assert [each["key"] for each in call("asset", "ls", "--prefix", "s3://b/r", "--json").document] == [
        "s3://b/raw"
    ]


def test_an_asset_is_shown(services, call):
    _noted()
    said = call("asset", "inspect", "s3://b/orders").out
    for part in ("Orders", '["ada"]', "s3://b/raw", '{"rows": 3}', "failed (TimedOut)", "succeeded"):
        assert part in said
    document = call("asset", "inspect", "s3://b/orders", "--json").document
    assert (document["count"], document["properties"]["name"]) == (2, "Orders")
    newest = document["materializations"][-1]
    assert (newest["run_id"], newest["succeeded"], newest["metadata"]) == ("2", False, {"rows": 3})
    assert "epoch" not in newest
    assert call("asset", "inspect", "s3://b/raw").code == 0


def test_an_asset_is_forgotten(services, call):
    _noted()
    assert call("asset", "forget", "s3://b/raw").out == "forgot s3://b/raw\n"
    failed = call("asset", "forget", "s3://b/raw")
    assert (failed.code, failed.out) == (1, "")
    assert "nothing is recorded of an asset 's3://b/raw'" in failed.err
    assert call("asset", "inspect", "").code == 1


def test_a_run_has_one_entry_that_of_its_latest_attempt(services, call):
    asset = Asset("s3://b/one")

    def made(epoch, succeeded, run_id="1"):
        note(asset, Materialization(run_id=run_id, succeeded=succeeded, at=AT, epoch=epoch))

    for epoch, succeeded in ((2, False), (1, True), (2, True), (3, True)):
        made(epoch, succeeded)
    document = json.loads(services.documents["asset", "s3://b/one"].body)
    assert [(each["epoch"], each["succeeded"]) for each in document["materializations"]] == [(3, True)]
    assert document["count"] == 1
    for number in range(150):
        made(1, True, f"run-{number}")
    document = json.loads(services.documents["asset", "s3://b/one"].body)
    assert document["count"] == 151
    assert [each["run_id"] for each in document["materializations"]] == [
        f"run-{number}" for number in range(50, 150)
    ]


def test_large_entries_give_way_to_newer_ones(services, call):
    asset = Asset("s3://b/large")
    for number in range(6):
        metadata = {"x": "y" * 60_000}
        note(
            asset,
            Materialization(run_id=str(number), succeeded=True, at=AT, epoch=1, metadata=metadata),
        )
    document = json.loads(services.documents["asset", "s3://b/large"].body)
    assert document["count"] == 6
    assert [each["run_id"] for each in document["materializations"]] == ["2", "3", "4", "5"]
