"""``taskyard variable``: looks, changes, and each way to fail."""

import json

import pytest

from taskyard._network.server import kept_documents


def keep(services, name, value, tags=()):
    services.keep("variable", name, json.dumps({"value": value, "tags": list(tags)}).encode())


def test_variables_of_all_pages_are_listed(services, call):
    for number in range(5):
        keep(services, f"v{number}", {"a": number}, ["x", "y"])
    heading, *lines = call("variable", "ls").lines
    assert heading.split() == ["NAME", "CHANGED", "TAGS", "VALUE"]
    assert [line.split()[0] for line in lines] == [f"v{number}" for number in range(5)]
    assert lines[3].endswith('x, y  {"a": 3}')
    assert [one["name"] for one in call("variable", "ls", "--prefix", "v3", "--json").document] == ["v3"]
    assert call("variable", "ls", "--prefix", "w").out == "no variables\n"


@pytest.mark.parametrize(
    ("value", "printed"), [("a text", "a text"), (5, "5"), (None, "null"), ([1, "x"], '[1, "x"]')]
)
def test_a_value_is_printed_as_programs_want_it(services, call, value, printed):
    keep(services, "v", value, ["t"])
    assert call("variable", "get", "v").out == f"{printed}\n"
    assert call("variable", "get", "v", "--json").document == {
        "name": "v",
        "value": value,
        "tags": ["t"],
        "changed": "2026-01-01T00:00:00.000+00:00",
    }


@pytest.mark.parametrize(
    ("word", "value"),
    [
        ("5", 5),
        ("-5", -5),
        ("-1.5e3", -1500),
        ('"5"', "5"),
        ("a text", "a text"),
        ("NaN", "NaN"),
        ('{"a": [true]}', {"a": [True]}),
    ],
)
def test_what_is_set_is_json_or_a_text(services, call, word, value):
    assert call("variable", "set", "v", word, "--tag", "a", "--tag", "b").out == "set v\n"
    assert json.loads(services.documents["variable", "v"].body) == {"value": value, "tags": ["a", "b"]}


def test_an_option_that_is_none_is_not_a_value(services, call):
    assert call("variable", "set", "v", "--overwite").code == 2
    assert call("variable", "set", "v", "--tag", "-5", "-7").out == "set v\n"
    assert json.loads(services.documents["variable", "v"].body) == {"value": -7, "tags": ["-5"]}


def test_half_a_character_is_printed_as_its_number(services, call):
    keep(services, "v", "a\ud800")
    assert call("variable", "get", "v").out == "a\\ud800\n"
    assert call("variable", "ls").lines[1].endswith("a\\ud800")
    assert call("variable", "get", "v", "--json").document["value"] == "a\ud800"


@pytest.mark.parametrize("body", [b"\xff", b"{}", b"[]", b'{"value": 1, "tags": 5}', b"[" * 100_000])
def test_what_others_have_written_otherwise_is_named(services, call, body):
    services.keep("variable", "v", body)
    for command in (("get", "v"), ("ls",), ("ls", "--json")):
        ended = call("variable", *command)
        assert (ended.code, ended.out) == (1, "")
        assert "of the variable 'v' is not written as this release writes it" in ended.err
    assert call("variable", "unset", "v").code == 0


def test_a_variable_that_exists_is_changed_only_if_wanted(services, call):
    keep(services, "v", 1)
    refused = call("variable", "set", "v", "2")
    assert (refused.code, refused.out) == (1, "")
    assert "exists already; add --overwrite" in refused.err
    assert call("variable", "set", "v", "2", "--overwrite").code == 0
    assert call("variable", "get", "v").out == "2\n"


def test_a_name_that_is_none_is_refused(services, call):
    refused = call("variable", "set", "Not A Name", "2")
    assert refused.code == 1
    assert "must only contain lowercase letters" in refused.err
    assert services.documents == {}


def test_a_variable_is_removed(services, call):
    keep(services, "v", 1)
    assert call("variable", "unset", "v").out == "removed v\n"
    assert services.documents == {}


@pytest.mark.parametrize("command", ["get", "unset"])
def test_one_that_is_not_there_is_said(services, call, command):
    for name in ("v", ""):
        ended = call("variable", command, name)
        assert (ended.code, ended.out) == (1, "")
        assert f"there is no variable '{name}'" in ended.err


def test_a_change_of_somebody_else_is_seen_before_it_is_overwritten(services, call):
    services.others_change = 3
    assert call("variable", "set", "v", "2", "--overwrite").code == 0
    assert call("variable", "get", "v").out == "2\n"
    del services.documents["variable", "v"]
    services.others_change = 1
    refused = call("variable", "set", "v", "2")
    assert refused.code == 1
    assert "already exists" in refused.err
    assert call("variable", "get", "v").out == "of others\n"


def test_whoever_is_always_too_late_is_told(services, call, monkeypatch):
    monkeypatch.setattr(kept_documents, "ATTEMPTS", 3)
    services.others_change = 1_000
    ended = call("variable", "set", "v", "2", "--overwrite")
    assert ended.code == 1
    assert "it has another version" in ended.err
