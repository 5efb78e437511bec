"""Blocks are saved by programs and loaded where they are needed, and what is secret in them is kept so."""

import asyncio
import json
import pickle
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
from pydantic import BaseModel, Field, SecretBytes, SecretStr, ValidationError
from pydantic import Secret as PydanticSecret
from support.plane_and_agent import Plane

from taskyard import flow, task
from taskyard._network.server.kept_documents import kept_documents
from taskyard.blocks.core import Block, InvalidBlockRegistration, UnknownBlockType
from taskyard.blocks.fields import SecretDict
from taskyard.blocks.system import Secret


class Credentials(Block):
    """How to get into a database.

    More about it.
    """

    _block_type_name = "My Credentials"
    _logo_url = "https://example.com/logo.png"

    user: str
    password: SecretStr
    since: datetime | None = None


class Inner(BaseModel):
    token: SecretStr
    port: int = 5432


class Everything(Block):
    text: str = "x"
    secret: SecretStr = SecretStr("hunter2-default")
    raw: SecretBytes = SecretBytes(b"hunter2-bytes")
    any: PydanticSecret[dict[str, int]] = PydanticSecret[dict[str, int]]({"hunter2-any": 1})
    headers: SecretDict = Field(default_factory=dict)
    inner: Inner | None = None
    deep: dict[str, list[Inner]] = Field(default_factory=dict)
    plain: dict[str, Any] = Field(default_factory=dict)
    schema_: str = Field("public", alias="schema")


class Database(Block):
    credentials: Credentials
    others: list[Credentials] = Field(default_factory=list)
    fallback: Block | None = None


class Initialized(Block):
    size: int

    def block_initialization(self) -> None:
        self._doubled = 2 * self.size

    _doubled: int = 0


@pytest.fixture
def name() -> str:
    """A name that no other test uses."""
    return f"mine-{uuid4().hex}"


@task
def password_of(name: str) -> str:
    return Credentials.load(name).password.get_secret_value()


@task
async def secret_of(name: str) -> Any:
    first, second = await Secret.load(name), await Secret.aload(name)  # type: ignore[misc]
    return [first.get(), second.get()]


@flow
def uses(name: str) -> list[str]:
    return [Credentials.load(name).password.get_secret_value(), password_of(name)]


def stored(kind: str, name: str) -> dict[str, Any]:
    found = kept_documents(kind).get(name)
    assert found is not None
    content = json.loads(found.body)
    assert isinstance(content, dict)
    return content


def test_a_block_is_loaded_as_it_was_saved(plane: Plane, name: str) -> None:
    since = datetime(2026, 1, 31, tzinfo=UTC)
    block = Credentials(user="ann", password=SecretStr("hunter2"), since=since)
    block_id = block.save(name)
    for loaded in (Credentials.load(name), Block.load(f"my-credentials/{name}")):
        assert isinstance(loaded, Credentials)
        assert (loaded.user, loaded.since) == ("ann", since)
        assert loaded.password.get_secret_value() == "hunter2"
        assert loaded._block_document_id == block._block_document_id == block_id
        assert loaded._block_document_name == name
        assert "hunter2" not in f"{loaded} {loaded!r} {loaded.model_dump_json()}"


def test_secrets_are_nowhere_in_what_the_control_plane_stores(plane: Plane, name: str) -> None:
    block = Everything(
        headers={"X": PydanticSecret[Any]("hunter2-header")},
        inner=Inner(token=SecretStr("hunter2-inner")),
        deep={"$a": [Inner(token=SecretStr("hunter2-deep"), port=1)]},
        plain={"$ref": "no block", "b": {"$dict": [1], "$block": {}}},
        schema="own",
        more=SecretStr("hunter2-extra"),
    )
    block.save(name)
    loaded: Any = Everything.load(name)
    assert loaded.raw.get_secret_value() == b"hunter2-bytes"
    assert loaded.any.get_secret_value() == {"hunter2-any": 1}
    assert loaded.headers["X"].get_secret_value() == "hunter2-header"
    assert loaded.deep["$a"][0].token.get_secret_value() == "hunter2-deep"
    assert loaded.plain == {"$ref": "no block", "b": {"$dict": [1], "$block": {}}}
    assert loaded.schema_ == "own"
    assert loaded.more == SecretStr("hunter2-extra")  # no field says that it is secret, and yet it stays so
    assert "hunter2" not in json.dumps(stored("block", f"everything/{name}"))
    for path in plane.home.rglob("*"):
        assert not path.is_file() or b"hunter2-" not in path.read_bytes(), path


def test_a_name_in_use_is_overwritten_only_if_wanted(plane: Plane, name: str) -> None:
    first = Credentials(user="ann", password=SecretStr("1")).save(name)
    with pytest.raises(ValueError, match="a name that is already in use for this block type"):
        Credentials(user="bob", password=SecretStr("2")).save(name)
    assert Credentials.load(name).user == "ann"
    assert Credentials(user="bob", password=SecretStr("2")).save(name, overwrite=True) == first
    loaded = Credentials.load(name)
    assert (loaded.user, loaded.password.get_secret_value()) == ("bob", "2")
    loaded.user = "eve"
    loaded.save(overwrite=True)
    assert Credentials.load(name).user == "eve"


def test_a_block_needs_a_name_to_be_saved(plane: Plane) -> None:
    block = Credentials(user="ann", password=SecretStr("1"))
    with pytest.raises(ValueError, match="without a name"):
        block.save()
    for wrong in ("Mine", "a/b", "a_b", "a" * 256):
        with pytest.raises(ValueError, match="Block document name"):
            block.save(wrong)
    assert block.saved_as() is None


def test_an_anonymous_block_is_found_by_its_id(plane: Plane) -> None:
    block = Credentials(user="ann", password=SecretStr("hunter2"))
    block_id = block._save(is_anonymous=True)
    assert block.saved_as() is None
    for ref in (block_id, str(block_id), {"block_document_id": str(block_id)}):
        loaded = Block.load_from_ref(ref)
        assert isinstance(loaded, Credentials)
        assert loaded.password.get_secret_value() == "hunter2"
        assert loaded._is_anonymous
    with pytest.raises(ValueError, match="an anonymous block has no name"):
        block._save("mine", is_anonymous=True)


def test_references_that_mean_nothing_are_refused(plane: Plane, name: str) -> None:
    Credentials(user="ann", password=SecretStr("1")).save(name)
    loaded = Block.load_from_ref({"block_document_slug": f"my-credentials/{name}"})
    assert isinstance(loaded, Credentials)
    for wrong in ("nonsense", {}, {"other": 1}):
        with pytest.raises(ValueError, match="Invalid reference format"):
            Block.load_from_ref(wrong)
    with pytest.raises(ValueError, match="Unable to find block document with the id"):
        Block.load_from_ref(uuid4())


def test_what_is_not_there_is_named(plane: Plane, name: str) -> None:
    said = f"Unable to find block document named {name} for block type my-credentials"
    for call in (Credentials.load, Credentials.delete):
        with pytest.raises(ValueError, match=said):
            call(name)
    with pytest.raises(ValueError, match=r"needs 'type/name', got 'mine'"):
        Block.load("mine")


def test_a_deleted_block_is_gone(plane: Plane, name: str) -> None:
    Credentials(user="ann", password=SecretStr("1")).save(name)
    Credentials(user="ann", password=SecretStr("1")).save(f"{name}-2")
    Credentials.delete(name)
    Block.delete(f"my-credentials/{name}-2")
    for each in (name, f"{name}-2"):
        with pytest.raises(ValueError, match="Unable to find"):
            Credentials.load(each)


def test_a_saved_block_inside_is_a_reference(plane: Plane, name: str) -> None:
    inner = Credentials(user="ann", password=SecretStr("old"))
    inner.save(f"{name}-in")
    unsaved = Credentials(user="bob", password=SecretStr("hunter2-inline"))
    Database(credentials=inner, others=[unsaved], fallback=unsaved).save(name)
    Credentials(user="ann", password=SecretStr("new")).save(f"{name}-in", overwrite=True)
    loaded = Database.load(name)
    assert loaded.credentials.password.get_secret_value() == "new"
    assert loaded.credentials.saved_as() == f"my-credentials/{name}-in"
    assert loaded.others == [unsaved]
    assert isinstance(loaded.fallback, Credentials)
    assert loaded.fallback.password.get_secret_value() == "hunter2-inline"
    Credentials.delete(f"{name}-in")
    with pytest.raises(ValueError, match=f"named {name}-in .* which is part of database/{name}"):
        Database.load(name)


def test_a_block_that_is_part_of_itself_is_refused(plane: Plane, name: str) -> None:
    first = Database(credentials=Credentials(user="a", password=SecretStr("b")))
    first.save(name)
    second = Database(credentials=first.credentials, fallback=first)
    second.save(f"{name}-2")
    first.fallback = second
    first.save(overwrite=True)
    with pytest.raises(ValueError, match="is part of itself"):
        Database.load(name)


def test_what_does_not_fit_its_class_any_more(plane: Plane, name: str) -> None:
    def old() -> type[Block]:
        class Changing(Block):
            message: str
            token: SecretStr

        return Changing

    old()(message="hello", token=SecretStr("hunter2-token")).save(name)

    class Changing(Block):
        message: str
        token: int
        ducks: int

    with pytest.raises(RuntimeError, match="due to failed validation") as caught:
        Changing.load(name)
    assert isinstance(caught.value.__cause__, ValidationError)
    assert b"hunter2" not in pickle.dumps(caught.value.__cause__)  # as it is stored with a failed run
    with pytest.warns(UserWarning, match="Give values to ducks, token"):
        loaded = Changing.load(name, validate=False)
    assert (loaded.message, loaded.ducks) == ("hello", None)
    assert loaded.token == SecretStr("hunter2-token")
    loaded.token, loaded.ducks = 1, 42
    loaded.save(overwrite=True)
    assert Changing.load(name).ducks == 42


def test_what_is_loaded_and_saved_again_stays_secret(plane: Plane, name: str) -> None:
    Everything(plain={"a": [SecretStr("hunter2-any")]}, more=SecretStr("hunter2-extra")).save(name)
    loaded: Any = Everything.load(name)
    loaded.secret, loaded.headers = "hunter2-set", {"X": "hunter2-set"}
    assert "hunter2-any" not in repr(loaded)
    assert "hunter2-extra" not in repr(loaded)
    loaded.save(overwrite=True)
    assert "hunter2" not in json.dumps(stored("block", f"everything/{name}"))
    again: Any = Everything.load(name)
    assert again.secret.get_secret_value() == again.headers["X"].get_secret_value() == "hunter2-set"
    assert again.plain["a"][0].get_secret_value() == "hunter2-any"
    assert again.more.get_secret_value() == "hunter2-extra"


def test_what_is_loaded_without_validation_stays_secret(plane: Plane, name: str) -> None:
    def old() -> type[Block]:
        class Growing(Block):
            token: SecretStr
            headers: SecretDict
            inner: Inner

        return Growing

    old()(
        token=SecretStr("hunter2-token"),
        headers={"X": PydanticSecret[Any]("hunter2-header")},
        inner=Inner(token=SecretStr("hunter2-inner")),
    ).save(name)

    class Growing(Block):
        token: SecretStr
        headers: SecretDict
        inner: Inner
        user: str

    with pytest.warns(UserWarning, match="Give values to user and"):
        loaded = Growing.load(name, validate=False)
    assert "hunter2" not in repr(loaded)
    assert loaded.token.get_secret_value() == "hunter2-token"
    assert loaded.inner.token.get_secret_value() == "hunter2-inner"
    loaded.user = "ann"
    loaded.save(overwrite=True)
    assert "hunter2" not in json.dumps(stored("block", f"growing/{name}"))
    assert Growing.load(name).headers["X"].get_secret_value() == "hunter2-header"


def test_types_are_registered_with_those_inside(plane: Plane) -> None:
    Database.register_type_and_schema()
    Database.register_type_and_schema()
    said = stored("block-type", "my-credentials")
    assert said["name"] == "My Credentials"
    assert said["description"] == "How to get into a database."
    assert said["logo_url"] == "https://example.com/logo.png"
    assert said["schema"]["properties"]["password"]["writeOnly"] is True
    assert stored("block-type", "database")["schema"]["required"] == ["credentials"]
    with pytest.raises(InvalidBlockRegistration, match="Block subclass and not on Block directly"):
        Block.register_type_and_schema()


def test_a_type_that_no_class_has_is_named(plane: Plane, name: str) -> None:
    documents = kept_documents("block")
    body = json.dumps({"id": str(uuid4()), "anonymous": False, "data": {}, "secret_paths": []}).encode()
    documents.change(f"nobodys/{name}", lambda _: (body, b""))
    with pytest.raises(UnknownBlockType, match="No block class found for slug 'nobodys'"):
        Block.load(f"nobodys/{name}")


def test_a_block_is_initialized_when_it_is_loaded(plane: Plane, name: str) -> None:
    Initialized(size=3).save(name)
    assert Initialized.load(name)._doubled == 6


@pytest.mark.parametrize(
    ("value", "found"),
    [
        ("hunter2", "hunter2"),
        ("123", "123"),
        ('{"a": 1}', {"a": 1}),
        ("[not json", "[not json"),
        ({"a": [1]}, {"a": [1]}),
        (7, 7),
        (SecretStr("hunter2"), "hunter2"),
    ],
)
def test_a_secret_block_tells_its_value(plane: Plane, name: str, value: Any, found: Any) -> None:
    Secret(value=value).save(name)
    loaded = Secret.load(name)
    assert loaded.get() == found
    assert "hunter2" not in repr(loaded)
    assert isinstance(Block.load(f"secret/{name}"), Secret)
    assert Secret[str].load(name).get() == found


@pytest.mark.parametrize("runner", ["agents", "threads"])
def test_flows_and_tasks_load_them(
    plane: Plane, name: str, runner: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TASKYARD_TASK_RUNNER", runner)
    Credentials(user="ann", password=SecretStr("hunter2")).save(name)
    assert uses(name) == ["hunter2", "hunter2"]
    Secret(value="s3cr3t").save(name)
    assert asyncio.run(_secret_of(name)) == ["s3cr3t", "s3cr3t"]


async def _secret_of(name: str) -> Any:
    return await secret_of(name)


async def _in_a_loop(name: str) -> list[Any]:
    block = Credentials(user="ann", password=SecretStr("1"))
    await block.save(name)  # type: ignore[misc]
    await block.asave(name, overwrite=True)
    await Credentials.register_type_and_schema()  # type: ignore[misc,func-returns-value]
    await Credentials.aregister_type_and_schema()
    loaded = [await Credentials.load(name), await Credentials.aload(name)]  # type: ignore[misc]
    await Credentials.delete(name)  # type: ignore[misc,func-returns-value]
    await block.asave(name)
    await Credentials.adelete(name)
    return [each.user for each in loaded]


def test_in_a_loop_calls_return_awaitables(plane: Plane, name: str) -> None:
    assert asyncio.run(_in_a_loop(name)) == ["ann", "ann"]


def test_the_key_is_beside_the_database_for_its_user_alone(plane: Plane, name: str) -> None:
    Secret(value="x").save(name)
    key = plane.home / "secret.key"
    assert key.stat().st_mode & 0o777 == 0o600
    plane.restart()
    assert Secret.load(name).get() == "x"
    moved = key.rename(Path(f"{key}.away"))
    with pytest.raises(Exception, match="was encrypted with the key"):
        Secret.load(name)
    moved.rename(key)
    assert Secret.load(name).get() == "x"
