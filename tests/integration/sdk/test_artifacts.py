"""Artifacts are left by flows and tasks, wherever these run, and read by everybody."""

import asyncio
import json
from concurrent.futures import ThreadPoolExecutor
from typing import Any
from uuid import UUID, uuid4

import pytest
from support.plane_and_agent import Plane

from taskyard import flow, get_client, task
from taskyard._network.server.kept_documents import KeptDocuments
from taskyard.artifacts import (
    Artifact,
    ImageArtifact,
    LinkArtifact,
    MarkdownArtifact,
    TableArtifact,
    acreate_image_artifact,
    acreate_link_artifact,
    acreate_markdown_artifact,
    acreate_progress_artifact,
    acreate_table_artifact,
    aupdate_progress_artifact,
    create_image_artifact,
    create_link_artifact,
    create_markdown_artifact,
    create_progress_artifact,
    create_table_artifact,
    update_progress_artifact,
)
from taskyard.client.reading.artifacts import MOST_VERSIONS
from taskyard.client.schemas.filters import (
    ArtifactFilter,
    ArtifactFilterFlowRunId,
    ArtifactFilterId,
    ArtifactFilterKey,
    ArtifactFilterTaskRunId,
    ArtifactFilterType,
)
from taskyard.client.schemas.sorting import ArtifactSort
from taskyard.exceptions import NotSupported, ObjectNotFound, TaskyardError
from taskyard.runtime import flow_run, task_run


@pytest.fixture
def key() -> str:
    """A key that no other test uses."""
    return f"my-key-{uuid4().hex}"


@pytest.fixture(params=["agents", "threads"])
def runner(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """Who executes the runs."""
    monkeypatch.setenv("TASKYARD_TASK_RUNNER", request.param)
    return str(request.param)


def _newest(key: str) -> Any:
    found = Artifact.get(key)
    assert found is not None
    return found


@task
def leaves(key: str) -> tuple[UUID, str]:
    return create_markdown_artifact("# in a task", key, "about it"), str(task_run.id)


@task
async def leaves_in_a_loop(key: str) -> list[UUID]:
    return [
        await create_link_artifact("http://a", key=key),  # type: ignore[misc]
        await acreate_link_artifact("http://a", "A", key=key),
        await acreate_markdown_artifact("b", key=key),
        await acreate_table_artifact([[1]], key=key),
        await acreate_image_artifact("http://c.png", key=key),
        await aupdate_progress_artifact(await acreate_progress_artifact(1.0, key=key), 2.0),
    ]


@flow
def leaves_everywhere(key: str) -> list[Any]:
    return [str(flow_run.id), create_markdown_artifact("# in a flow", key), *leaves.submit(key).result()]


@flow
async def awaits(key: str) -> list[UUID]:
    return await leaves_in_a_loop(key)


def test_artifacts_belong_to_the_runs_that_made_them(plane: Plane, runner: str, key: str) -> None:
    flow_run_id, of_flow, of_task, task_run_id = leaves_everywhere(key)
    newest = _newest(key)
    assert (newest.id, newest.key, newest.type, newest.data) == (of_task, key, "markdown", "# in a task")
    assert (newest.description, str(newest.flow_run_id)) == ("about it", flow_run_id)
    assert str(newest.task_run_id) == task_run_id
    assert newest.created <= newest.updated
    with get_client(sync_client=True) as client:
        of_runs = [
            ArtifactFilter(flow_run_id=ArtifactFilterFlowRunId(any_=[UUID(flow_run_id)])),
            ArtifactFilter(task_run_id=ArtifactFilterTaskRunId(any_=[UUID(task_run_id)])),
        ]
        found = [client.read_artifacts(artifact_filter=each) for each in of_runs]
    assert [[each.id for each in some] for some in found] == [[of_task, of_flow], [of_task]]
    assert found[0][1].task_run_id is None


def test_coroutines_leave_artifacts(plane: Plane, runner: str, key: str) -> None:
    ids = asyncio.run(awaits(key))
    with get_client(sync_client=True) as client:
        found = client.read_artifacts(artifact_filter=ArtifactFilter(key=ArtifactFilterKey(any_=[key])))
    assert [each.id for each in found] == ids[::-1]
    assert [each.data for each in found[::-1]] == [
        "[http://a](http://a)",
        "[A](http://a)",
        "b",
        "[[1]]",
        "http://c.png",
        2.0,
    ]


def test_tables_are_json(plane: Plane, key: str) -> None:
    create_table_artifact({"a": [1, float("nan")], "b": [None, "x"]}, key=key)
    found = _newest(key)
    assert (found.type, json.loads(found.data)) == ("table", {"a": [1, None], "b": [None, "x"]})
    with pytest.raises(ValueError, match="the table of the artifact is nothing that JSON has"):
        create_table_artifact([{"a": object()}], key=key)
    with pytest.raises(ValueError, match="the table of the artifact is nothing that JSON has"):
        create_table_artifact([[float("inf")]], key=key)


def test_other_kinds(plane: Plane, key: str) -> None:
    create_image_artifact("http://x/y.png", key=key)
    assert (_newest(key).type, _newest(key).data) == ("image", "http://x/y.png")
    create_link_artifact("http://x", "text", key=key)
    assert (_newest(key).type, _newest(key).data) == ("markdown", "[text](http://x)")
    assert LinkArtifact(link="http://x").format() == "[http://x](http://x)"
    assert TableArtifact(table=[[1]]).format() == "[[1]]"
    assert ImageArtifact(image_url="u").format() == "u"
    assert asyncio.run(MarkdownArtifact(markdown="m").aformat()) == "m"
    assert Artifact(data={"a": 1}).format() == '{"a": 1}'


def test_progress_is_updated_in_place(plane: Plane, key: str, caplog: pytest.LogCaptureFixture) -> None:
    made = create_progress_artifact(0, key=key, description="begun")
    assert update_progress_artifact(made, 50) == made
    assert (_newest(key).data, _newest(key).description) == (50.0, "begun")
    update_progress_artifact(made, 120, description="done")
    found = _newest(key)
    assert (found.id, found.data, found.description, found.type) == (made, 100.0, "done", "progress")
    with pytest.raises(ValueError, match="NaN"):
        update_progress_artifact(made, float("nan"))
    with pytest.raises(ObjectNotFound, match="does not exist"):
        update_progress_artifact(uuid4(), 1)


@pytest.mark.parametrize("wrong", ["", "Big", "a b", "a_b", "a/b", "ä", "a.b"])
def test_a_key_has_a_form(plane: Plane, wrong: str) -> None:
    said = "Artifact key must only contain lowercase letters, numbers, and dashes"
    with pytest.raises(ValueError, match=said):
        create_markdown_artifact("x", key=wrong)
    assert Artifact.get(wrong) is None
    with pytest.raises(ValueError, match="256 characters, at most 255"):
        Artifact(key="a" * 256)


def test_what_is_too_large_is_refused(plane: Plane, key: str) -> None:
    with pytest.raises(TaskyardError, match=f"the artifact '{key}' has .* at most 524288 are kept; write it"):
        create_markdown_artifact("x" * 600_000, key=key)
    assert Artifact.get(key) is None


def test_get_or_create(plane: Plane, key: str) -> None:
    assert Artifact.get(key) is None
    first, made = MarkdownArtifact.get_or_create(key, "about", markdown="one")
    assert (first.data, first.description, made) == ("one", "about", True)
    again, made = MarkdownArtifact.get_or_create(key, markdown="two")
    assert (again, made) == (first, False)
    generic = Artifact(type="mine", key=key, data={"a": [1]}, metadata_={"m": "n"}).create()
    assert (generic.type, generic.data, generic.metadata_) == ("mine", '{"a": [1]}', {"m": "n"})
    assert _newest(key) == generic


def test_without_a_key_an_artifact_is_found_by_its_id(plane: Plane) -> None:
    made = create_markdown_artifact("no key")
    with get_client(sync_client=True) as client:
        wanted = ArtifactFilter(id=ArtifactFilterId(any_=[made, uuid4()]))
        (found,) = client.read_artifacts(artifact_filter=wanted)
        assert (found.key, found.data) == (None, "no key")
        newest = Artifact.get()
        assert newest is not None
        assert newest.id == made
        client.delete_artifact(made)
        assert client.read_artifacts(artifact_filter=wanted) == []
        with pytest.raises(ObjectNotFound, match="does not exist"):
            client.delete_artifact(made)


def test_clients_filter_and_sort(plane: Plane, key: str) -> None:
    ids = [create_markdown_artifact(str(n), key=f"{key}-{n}") for n in range(3)]
    progress = create_progress_artifact(1, key=f"{key}-p")
    update_progress_artifact(progress, 2)

    async def read(sort: ArtifactSort | None = None, **parts: Any) -> list[UUID]:
        async with get_client() as client:
            wanted = ArtifactFilter(key=ArtifactFilterKey(like_=key.upper()), **parts)
            return [each.id for each in await client.read_artifacts(artifact_filter=wanted, sort=sort)]

    assert asyncio.run(read()) == [progress, *ids[::-1]]
    assert asyncio.run(read(ArtifactSort.KEY_ASC)) == [*ids, progress]
    assert asyncio.run(read(ArtifactSort.UPDATED_ASC)) == [*ids, progress]
    assert asyncio.run(read(type=ArtifactFilterType(any_=["progress"]))) == [progress]
    assert asyncio.run(read(type=ArtifactFilterType(not_any_=["progress"]))) == ids[::-1]
    with get_client(sync_client=True) as client:
        either = ArtifactFilter(
            operator="or_",  # type: ignore[arg-type]  # as documents have it
            id=ArtifactFilterId(any_=[ids[0]]),
            key=ArtifactFilterKey(any_=[f"{key}-1"]),
        )
        assert [each.id for each in client.read_artifacts(artifact_filter=either)] == [ids[1], ids[0]]
        some = client.read_artifacts(artifact_filter=either, limit=1, offset=1)
        assert [each.id for each in some] == [ids[0]]
        none = ArtifactFilter(key=ArtifactFilterKey(any_=[f"{key}-1"], exists_=False))
        assert client.read_artifacts(artifact_filter=none) == []
        with pytest.raises(NotSupported, match="ArtifactFilter has flow_run_id"):
            client.read_artifacts(flow_run_filter=object())  # type: ignore[arg-type]
        made = create_link_artifact("u", key=key, client=client)
        assert Artifact.get(key, client).id == made  # type: ignore[union-attr]


def test_the_newest_versions_of_a_key_stay(plane: Plane, key: str) -> None:
    with ThreadPoolExecutor(4) as threads:
        ids = list(threads.map(lambda n: create_markdown_artifact(str(n), key=key), range(MOST_VERSIONS + 5)))
    with get_client(sync_client=True) as client:
        wanted = ArtifactFilter(key=ArtifactFilterKey(any_=[key]))
        kept = client.read_artifacts(artifact_filter=wanted)
        assert len(kept) == MOST_VERSIONS
        everything = ArtifactFilter(key=ArtifactFilterKey(like_=key))
        assert {each.id for each in client.read_artifacts(artifact_filter=everything)} == {
            each.id for each in kept
        }
        assert {each.id for each in kept} <= set(ids)
        for each in kept:
            client.delete_artifact(each.id)
    assert Artifact.get(key) is None
    assert create_markdown_artifact("again", key=key) == _newest(key).id


def test_a_version_that_is_written_while_the_last_one_is_deleted_stays(
    plane: Plane, key: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = create_markdown_artifact("first", key)
    deleted = KeptDocuments.delete

    def write_before(documents: KeptDocuments, name: str, *args: Any, **options: Any) -> bool:
        if name == key:
            monkeypatch.undo()
            create_markdown_artifact("second", key)
        return deleted(documents, name, *args, **options)

    monkeypatch.setattr(KeptDocuments, "delete", write_before)
    with get_client(sync_client=True) as client:
        client.delete_artifact(first)
    assert _newest(key).data == "second"


def test_a_table_that_has_itself_inside_is_refused(plane: Plane) -> None:
    table: list[list[Any]] = [[]]
    table[0].append(table)
    with pytest.raises(ValueError, match="the table of the artifact is nothing that JSON has"):
        create_table_artifact(table)
