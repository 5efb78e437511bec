"""``taskyard block``: what is saved, without what is secret in it."""

import json
from uuid import UUID

import pytest
from pydantic import Field, SecretStr

from taskyard.blocks.contents import take_apart
from taskyard.blocks.core import Block


class Shown(Block):
    user: str = "ann"
    password: SecretStr = SecretStr("hunter2")
    options: dict[str, object] = Field(default_factory=lambda: {"$a": 1})


def keep(services, name, anonymous=False):
    parts = take_apart(Shown())
    said = {"id": str(UUID(int=7)), "anonymous": anonymous, "data": parts.data}
    body = json.dumps({**said, "secret_paths": parts.secret_paths()}).encode()
    services.keep("block", name, body, has_secret=True)


def test_blocks_are_listed_without_those_that_programs_named(services, call):
    for name in ("a/1", "a/2", "b/1", "b/2"):
        keep(services, name)
    keep(services, "b/anonymous-1", anonymous=True)
    heading, *lines = call("block", "ls").lines
    assert heading.split() == ["BLOCK", "CHANGED", "SECRETS"]
    assert [line.split()[0] for line in lines] == ["a/1", "a/2", "b/1", "b/2"]
    assert lines[0].split()[-1] == "yes"
    listed = call("block", "ls", "--type", "b", "--all", "--json").document
    assert [one["name"] for one in listed] == ["1", "2", "anonymous-1"]
    assert call("block", "ls", "--type", "c").out == "no blocks\n"


def test_a_block_is_shown_with_asterisks(services, call):
    keep(services, "shown/mine")
    document = call("block", "inspect", "shown/mine", "--json").document
    assert (document["type"], document["name"], document["id"]) == ("shown", "mine", str(UUID(int=7)))
    assert document["data"] == {"user": "ann", "password": "********", "options": {"$a": 1}}
    lines = [line.split() for line in call("block", "inspect", "shown/mine").lines]
    assert ["password", '"********"'] in lines
    assert "hunter2" not in call("block", "inspect", "shown/mine").out


def test_a_block_is_deleted(services, call):
    keep(services, "shown/mine")
    assert call("block", "delete", "shown/mine").out == "deleted shown/mine\n"
    assert services.documents == {}


@pytest.mark.parametrize("command", ["inspect", "delete"])
def test_one_that_is_not_there_is_said(services, call, command):
    for name in ("a/b", ""):
        ended = call("block", command, name)
        assert (ended.code, ended.out) == (1, "")
        assert f"there is no block '{name}'" in ended.err


@pytest.mark.parametrize("body", [b"\xff", b"{}", b"[]", b'{"id": 5}'])
def test_what_others_have_written_otherwise_is_named(services, call, body):
    services.keep("block", "t/b", body)
    for command in (("inspect", "t/b"), ("ls",)):
        ended = call("block", *command)
        assert (ended.code, ended.out) == (1, "")
        assert "of the block 't/b' is not written as this release writes it" in ended.err
