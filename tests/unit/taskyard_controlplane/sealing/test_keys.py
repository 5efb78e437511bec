"""Keys of secrets: what is one, where they are, and which of them is used."""

import base64
import stat
from pathlib import Path

import pytest

from taskyard_contract.errors import SecretUnreadable
from taskyard_controlplane.sealing.keys import InvalidKey, KeyRing, parse_keys
from taskyard_controlplane.sealing.sealed import seal, unseal


def key(number: int) -> str:
    return base64.b64encode(bytes([number]) * 32).decode()


def test_keys_are_read_newest_first_from_lines_or_between_commas() -> None:
    lines = parse_keys(f"# of June\n{key(2)}\n\n  {key(1)}  \n", "there")
    commas = parse_keys(f"{key(2)},{key(1)}", "there")
    assert lines == commas
    assert [each.key[0] for each in lines] == [2, 1]


def test_both_alphabets_of_base64_are_the_same_key() -> None:
    data = bytes(range(224, 256))
    standard, urlsafe = base64.b64encode(data).decode(), base64.urlsafe_b64encode(data).decode()
    assert standard != urlsafe
    assert parse_keys(standard, "x") == parse_keys(urlsafe, "x")


@pytest.mark.parametrize(
    "text", ["hunter2hunter2", base64.b64encode(bytes(16)).decode(), "not base64 at all!"]
)
def test_what_is_no_key_is_refused_without_being_told(text: str) -> None:
    with pytest.raises(InvalidKey, match="key 2 in there is not 32 bytes") as caught:
        parse_keys(f"{key(1)},{text}", "there")
    assert text not in str(caught.value)


def test_no_key_at_all_is_refused() -> None:
    with pytest.raises(InvalidKey, match="no key in there"):
        parse_keys("# only a comment\n", "there")


def test_a_key_does_not_show_itself() -> None:
    [one] = parse_keys(key(7), "x")
    assert repr(one) == f"Key({one.id.hex()})"
    assert bytes([7, 7]) not in one.id


def test_what_is_sealed_opens_at_its_place_only() -> None:
    ring = KeyRing(key(1))
    sealed = seal(ring, "block\na", b"hunter2")
    assert b"hunter2" not in sealed
    assert unseal(ring, "block\na", sealed) == b"hunter2"
    with pytest.raises(SecretUnreadable, match="changed in the database, or moved"):
        unseal(ring, "block\nb", sealed)
    with pytest.raises(SecretUnreadable, match="changed in the database"):
        unseal(ring, "block\na", sealed[:-1] + bytes([sealed[-1] ^ 1]))
    with pytest.raises(SecretUnreadable, match="damaged"):
        unseal(ring, "block\na", b"")


def test_the_same_secret_twice_does_not_look_the_same() -> None:
    ring = KeyRing(key(1))
    assert seal(ring, "a", b"x") != seal(ring, "a", b"x")


def test_keys_are_replaced_by_a_newer_one_before_them() -> None:
    old = seal(KeyRing(key(1)), "a", b"x")
    both = KeyRing(f"{key(2)},{key(1)}")
    new = seal(both, "a", b"x")
    assert unseal(both, "a", old) == unseal(both, "a", new) == b"x"
    assert unseal(KeyRing(key(2)), "a", new) == b"x"  # the old one may go when nothing needs it any more
    with pytest.raises(SecretUnreadable, match="was encrypted with the key"):
        unseal(KeyRing(key(2)), "a", old)


def test_without_a_key_the_refusal_says_how_to_get_one(tmp_path: Path) -> None:
    with pytest.raises(SecretUnreadable, match="--secret-key-file"):
        seal(KeyRing(), "a", b"x")
    with pytest.raises(SecretUnreadable, match=r"there is no file of keys .*openssl rand"):
        seal(KeyRing(path=tmp_path / "none"), "a", b"x")
    assert list(tmp_path.iterdir()) == []


def test_a_file_of_keys_is_made_for_its_user_alone_and_kept(tmp_path: Path) -> None:
    path = tmp_path / "secret.key"
    ring = KeyRing(path=path, makes=True)
    first = ring.newest()
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert KeyRing(path=path, makes=True).newest() == first
    assert list(tmp_path.iterdir()) == [path]
    path.chmod(0o644)
    assert ring.newest() == first
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_looking_for_a_key_makes_no_file(tmp_path: Path) -> None:
    sealed = seal(KeyRing(key(1)), "a", b"x")
    with pytest.raises(SecretUnreadable, match="other keys"):
        unseal(KeyRing(path=tmp_path / "secret.key", makes=True), "a", sealed)
    assert list(tmp_path.iterdir()) == []


def test_a_file_that_cannot_be_made_is_named(tmp_path: Path) -> None:
    path = tmp_path / "gone" / "secret.key"
    with pytest.raises(SecretUnreadable, match=f"{path} cannot be made"):
        KeyRing(path=path, makes=True).newest()


def test_a_damaged_file_is_named_and_never_written_over(tmp_path: Path) -> None:
    path = tmp_path / "secret.key"
    path.write_bytes(b"\xff\xfe")
    with pytest.raises(SecretUnreadable, match=f"{path} is no text"):
        KeyRing(path=path, makes=True).newest()
    path.write_text("short")
    with pytest.raises(SecretUnreadable, match=f"key 1 in the file {path}"):
        KeyRing(path=path, makes=True).newest()
    assert path.read_text() == "short"
