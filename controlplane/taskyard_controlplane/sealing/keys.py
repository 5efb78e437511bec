"""The keys of a server: 32 bytes each, as text in a variable or a file, never in the database.

The first one encrypts; all of them decrypt. So a key is replaced by putting a new one before it, and goes
when nothing is left that it has encrypted. Keys are read for each use, which is seldom: a changed file needs
no restart.
"""

import base64
import binascii
import os
import secrets
import stat
from contextlib import suppress
from hashlib import sha256
from pathlib import Path
from typing import Final, NamedTuple

from taskyard_contract.errors import SecretUnreadable
from taskyard_contract.programs.private_files import create, opener

KEY_BYTES: Final = 32
KEY_ID_BYTES: Final = 8
MAKE: Final = "'openssl rand -base64 32' makes a key"
HOW: Final = f"start it with --secret-key-file FILE or TASKYARD_SECRET_KEY; {MAKE}"


class InvalidKey(ValueError):
    """What should be a key is none; the message says where, and not what it is."""


class Key(NamedTuple):
    """One key, and what it is called beside what it has encrypted."""

    id: bytes
    key: bytes

    def __repr__(self) -> str:
        """Name the key without telling it."""
        return f"Key({self.id.hex()})"


def parse_keys(text: str, where: str) -> list[Key]:
    """Read keys, newest first, one in a line or with commas between; lines that begin with # are comments.

    Raises:
        InvalidKey: One is not 32 bytes in base64, or there is none.
    """
    lines = [line for line in text.splitlines() if not line.lstrip().startswith("#")]
    words = [word.strip() for line in lines for word in line.split(",") if word.strip()]
    if not words:
        raise InvalidKey(f"there is no key in {where}")
    return [_parsed(word, f"key {number} in {where}") for number, word in enumerate(words, start=1)]


def _parsed(word: str, what: str) -> Key:
    try:
        key = base64.b64decode(word.replace("-", "+").replace("_", "/"), validate=True)
    except (binascii.Error, ValueError):
        key = b""
    if len(key) != KEY_BYTES:
        raise InvalidKey(f"{what} is not {KEY_BYTES} bytes in base64; 'openssl rand -base64 32' makes one")
    return Key(sha256(b"taskyard key " + key).digest()[:KEY_ID_BYTES], key)


class KeyRing:
    """Where the keys of a server are."""

    def __init__(self, text: str = "", path: Path | None = None, *, makes: bool = False) -> None:
        """Take the keys from a text or, without one, from a file.

        Args:
            text: The keys themselves.
            path: The file that has them.
            makes: Whether the file is made when a secret is to be stored and there is none.
        """
        self._text = text
        self._path = path
        self._makes = makes

    def newest(self) -> Key:
        """Return the key that encrypts. Blocks.

        Raises:
            SecretUnreadable: There is none.
        """
        path = self._path
        if self._makes and not self._text and path is not None and not path.exists():
            _make(path)
        keys = self._keys()
        if not keys:
            raise SecretUnreadable(f"this server keeps no secrets, because it has no key: {HOW}")
        return keys[0]

    def is_open_to_others(self) -> bool:
        """Say whether the keys are in a file that others than its user and its group can read. Blocks."""
        return self._path is not None and bool(self._path.stat().st_mode & stat.S_IROTH)

    def named(self, key_id: bytes) -> Key:
        """Return the key that something was encrypted with. Blocks.

        Raises:
            SecretUnreadable: It is not here.
        """
        keys = self._keys()
        for key in keys:
            if key.id == key_id:
                return key
        has = ", ".join(key.id.hex() for key in keys) or "none"
        raise SecretUnreadable(
            f"this was encrypted with the key {key_id.hex()}, and this server has other keys ({has}): "
            "give it that key as well, behind its own, or store the secret again"
        )

    def _keys(self) -> list[Key]:
        try:
            if self._text:
                return parse_keys(self._text, "TASKYARD_SECRET_KEY")
            if self._path is None:
                return []
            # One that this program makes is for its user alone, also when it was copied from elsewhere.
            with open(self._path, encoding="utf-8", opener=opener if self._makes else None) as file:
                return parse_keys(file.read(), f"the file {self._path}")
        except FileNotFoundError:
            if not self._makes:
                raise SecretUnreadable(f"there is no file of keys {self._path}; {MAKE}") from None
            return []
        except OSError as error:
            raise SecretUnreadable(
                f"the file of keys {self._path} cannot be read ({error.strerror})"
            ) from None
        except UnicodeDecodeError:
            raise SecretUnreadable(f"the file of keys {self._path} is no text") from None
        except InvalidKey as error:
            raise SecretUnreadable(str(error)) from None


def _make(path: Path) -> None:
    """Make a file with a new key, whole from the moment on at which others can see it."""
    text = base64.b64encode(secrets.token_bytes(KEY_BYTES)).decode()
    draft = path.with_name(f"{path.name}.{secrets.token_hex(4)}")
    try:
        with create(draft) as file:
            file.write(f"{text}\n".encode())
            file.flush()
            os.fsync(file.fileno())
        with suppress(FileExistsError):  # made by somebody else at the same moment: that one holds
            os.link(draft, path)
        _sync_directory(path.parent)
    except OSError as error:
        raise SecretUnreadable(f"the file of keys {path} cannot be made ({error.strerror})") from None
    finally:
        draft.unlink(missing_ok=True)


def _sync_directory(directory: Path) -> None:
    """Make the name of a new file durable: what it encrypts would be lost without it."""
    opened = os.open(directory, os.O_RDONLY)
    try:
        os.fsync(opened)
    finally:
        os.close(opened)
