"""How a secret is encrypted: AES-256-GCM, bound to the place where it is kept.

A sealed secret is a version, the id of its key, a nonce, and the ciphertext. Whoever can write to the
database can neither read one nor move it to another document: it would not open there.
"""

import secrets
from typing import Final

from taskyard_contract.errors import SecretUnreadable
from taskyard_controlplane.sealing.keys import KEY_ID_BYTES, KeyRing

_VERSION: Final = b"\x01"
_NONCE_BYTES: Final = 12
_HEAD_BYTES: Final = len(_VERSION) + KEY_ID_BYTES + _NONCE_BYTES
_DOMAIN: Final = b"taskyard document\x00"


def seal(ring: KeyRing, place: str, secret: bytes) -> bytes:
    """Encrypt a secret with the newest key. Blocks.

    Args:
        ring: The keys.
        place: Where it is kept, the only one; it opens nowhere else.
        secret: What is to be encrypted.

    Raises:
        SecretUnreadable: There is no key.
    """
    # Imported here because most servers are never given a secret, and the start of a yard counts.
    from cryptography.hazmat.primitives.ciphers.aead import AESGCM

    key = ring.newest()
    nonce = secrets.token_bytes(_NONCE_BYTES)
    encrypted = AESGCM(key.key).encrypt(nonce, secret, _DOMAIN + place.encode())
    return _VERSION + key.id + nonce + encrypted


def unseal(ring: KeyRing, place: str, sealed: bytes) -> bytes:
    """Decrypt what `seal` has encrypted for the same place. Blocks.

    Raises:
        SecretUnreadable: Its key is not here, or somebody has changed it.
    """
    from cryptography.exceptions import InvalidTag
    from cryptography.hazmat.primitives.ciphers.aead import AESGCM

    if len(sealed) < _HEAD_BYTES or not sealed.startswith(_VERSION):
        raise SecretUnreadable("this secret was written by another release, or is damaged")
    key = ring.named(sealed[len(_VERSION) : len(_VERSION) + KEY_ID_BYTES])
    nonce = sealed[_HEAD_BYTES - _NONCE_BYTES : _HEAD_BYTES]
    try:
        return AESGCM(key.key).decrypt(nonce, sealed[_HEAD_BYTES:], _DOMAIN + place.encode())
    except InvalidTag:
        raise SecretUnreadable(
            "this secret does not open with its key: it was changed in the database, or moved there"
        ) from None
