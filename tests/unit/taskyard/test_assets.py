"""Assets before anything runs: keys, properties, and the tasks that make them."""

import os
import pickle
import subprocess
import sys
from typing import Any

import cloudpickle
import pytest
from pydantic import ValidationError

from taskyard import materialize, task
from taskyard._engine.assets.records import AssetRecord
from taskyard.assets import Asset, AssetProperties, MaterializingTask, add_asset_metadata
from taskyard.tasks import MaterializingTask as OfTasks

FORBIDDEN = "\n\r\t\0 #?&%\"'<>[]{}|\\^`"
KEY = "s3://bucket/orders.csv"


def made() -> int:
    return 1


def test_b18_a_key_is_a_uri_with_a_lowercase_scheme() -> None:
    assert Asset(KEY).key == Asset(key=KEY).key == KEY
    for wrong in ("orders.csv", "S3://bucket/x", "s3:/bucket", "s_3://bucket", "", "://x"):
        with pytest.raises(ValueError, match="must be a valid URI"):
            Asset(wrong)


@pytest.mark.parametrize("character", FORBIDDEN)
def test_b18_a_key_has_none_of_21_characters(character: str) -> None:
    assert len(set(FORBIDDEN)) == 21
    with pytest.raises(ValueError, match="Asset key cannot contain"):
        Asset(f"s3://bucket/a{character}b")


def test_b18_a_key_has_at_most_512_bytes() -> None:
    start = "s3://"
    assert len(Asset(start + "a" * 507).key) == 512
    for wrong in (start + "a" * 508, start + "ä" * 254):
        with pytest.raises(ValueError, match="cannot exceed 512 characters, as UTF-8: it has 513"):
            Asset(wrong)


def test_b18_a_key_is_a_text_that_can_be_sent() -> None:
    with pytest.raises(ValueError, match="surrogates not allowed"):
        Asset("s3://bucket/\ud800")


def test_b18_a_description_has_at_most_2500_characters() -> None:
    assert AssetProperties(description="x" * 2500).description == "x" * 2500
    with pytest.raises(ValueError, match="at most 2500 characters"):
        AssetProperties(description="x" * 2501)


def test_assets_are_values() -> None:
    plain, rich = Asset(KEY), Asset(KEY, properties=AssetProperties(name="Orders", owners=["a"]))
    assert plain == Asset(KEY)
    assert plain != rich
    assert hash(plain) == hash(rich)
    assert repr(rich) == f"Asset(key='{KEY}')"
    assert pickle.loads(pickle.dumps(rich)) == rich
    with pytest.raises(ValueError, match="frozen"):
        plain.key = "s3://other"  # type: ignore[misc]


def test_row_30_materialize_makes_a_task() -> None:
    one = materialize(KEY, Asset("s3://b/c"), by="duck", asset_deps=["s3://b/raw", Asset("s3://b/raw")])(made)
    assert type(one) is MaterializingTask is OfTasks
    assert one.assets == [Asset(KEY), Asset("s3://b/c")]
    assert one.materialized_by == "duck"
    assert one.asset_deps == [Asset("s3://b/raw")]
    assert one.name == "made"
    assert one.fn is made
    assert task(asset_deps=None)(made).asset_deps == []
    assert one.with_options(asset_deps=None, assets=None).asset_deps == one.asset_deps


def test_b18_materialize_needs_assets() -> None:
    said = "materialize requires at least one asset argument"
    bare: Any = materialize
    for make in (lambda: bare(made), lambda: bare()(made), lambda: MaterializingTask(made)):
        with pytest.raises(TypeError, match=said):
            make()


@pytest.mark.parametrize(
    ("options", "error", "said"),
    [
        ({"asset_deps": "s3://x"}, TypeError, "'asset_deps' must be a list of assets or of their keys"),
        ({"asset_deps": [5]}, TypeError, "'asset_deps' must hold assets or their keys, got 5"),
        ({"asset_deps": ["x"]}, ValueError, "must be a valid URI"),
        ({"assets": ["s3://x"]}, TypeError, "cannot have the option 'assets'.*@materialize"),
    ],
)
def test_row_30_options_are_checked(options: dict[str, Any], error: type[Exception], said: str) -> None:
    with pytest.raises(error, match=said):
        task(**options)(made)


def test_the_tool_is_a_text() -> None:
    with pytest.raises(TypeError, match="materialized_by"):
        materialize(KEY, by=5)(made)  # type: ignore[arg-type]


def test_b18_metadata_needs_a_run() -> None:
    with pytest.raises(RuntimeError, match="Unable to add Asset metadata: no task run is around"):
        add_asset_metadata(KEY, {})
    with pytest.raises(RuntimeError, match="Unable to add Asset metadata"):
        Asset(KEY).add_metadata({})


@pytest.mark.parametrize("fn", [os.path.basename, lambda path: path], ids=["by reference", "by value"])
def test_row_31_a_task_travels_with_its_assets(fn: Any) -> None:
    one = materialize(KEY, by="duck", asset_deps=["s3://bucket/raw"])(fn)
    heir = one.materializing_after(frozenset([Asset("s3://b/up")]))
    assert one.materializing_after(frozenset([Asset("s3://b/up")])) is heir
    assert one.upstream_assets == ()
    for sent in (heir, heir.staged(), heir.with_options(retries=1)):
        there = pickle.loads(cloudpickle.dumps(sent))
        assert type(there) is MaterializingTask
        assert (there.assets, there.materialized_by) == ([Asset(KEY)], "duck")
        assert there.asset_deps == [Asset("s3://bucket/raw")]
        assert there.upstream_assets == (Asset("s3://b/up"),)
    assert pickle.loads(cloudpickle.dumps(one)).upstream_assets == ()


def test_what_was_never_made_has_no_latest() -> None:
    assert AssetRecord(asset=Asset(KEY)).latest is None


def test_programs_without_assets_pay_one_test() -> None:
    code = (
        "import sys, taskyard; from taskyard._engine.assets.in_use import use\n"
        "taskyard.task(print)\n"
        "assert not use.begun and 'taskyard._engine.assets.asset' not in sys.modules\n"
        "taskyard.task(asset_deps=['s3://x'])(print)\n"
        "assert use.begun\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)


def test_properties_are_what_can_be_recorded() -> None:
    with pytest.raises(ValidationError, match=r"properties of an asset have .* bytes as JSON, at most 65536"):
        AssetProperties(owners=["o" * 1000] * 70)
