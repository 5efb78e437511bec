"""The agent's directory of unpacked bundles: each unpacked once, and kept while somebody may import it."""

import asyncio
import hashlib
import zipfile
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any

import pytest

from taskyard_agent.holding import unpacking
from taskyard_agent.holding.blob_store import BlobStore
from taskyard_agent.holding.unpacked_bundles import UnpackedBundles
from taskyard_agent.holding.unpacking import BadBundle
from taskyard_api.v1 import common_pb2
from taskyard_contract.world import bundles, facts
from taskyard_contract.world.bundles import Manifest
from taskyard_contract.world.facts import MainFacts

SIZE = 10_000


class Shop:
    """A directory of blobs that has some bundles already, and one of what was unpacked of them."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.blobs = BlobStore(path / "blobs", lambda: "127.0.0.1:1", 10**9)

    def bundles(self, capacity: int = 10**9) -> UnpackedBundles:
        return UnpackedBundles(self.path / "bundles", self.blobs, capacity)

    def offer(self, text: str, manifest: bool = True) -> bytes:
        """Store a bundle; returns its digest."""
        path = self.path / "new.zip"
        with zipfile.ZipFile(path, "w") as archive:
            if manifest:
                told = bundles.encode(Manifest(["0"], {}, MainFacts(), "", []))
                archive.writestr(bundles.MANIFEST, told)
            archive.writestr("0/text", text * (SIZE // len(text)))
        digest = hashlib.sha256(path.read_bytes()).digest()
        path.rename(self.blobs.path(common_pb2.BlobRef(digest=digest)))
        return digest

    def has_file(self, digest: bytes) -> bool:
        return (self.path / f"bundles/{digest.hex()}.json").exists()

    def unpacked(self) -> set[str]:
        return {path.name for path in (self.path / "bundles").iterdir() if path.is_dir()}


@pytest.fixture
def shop(tmp_path: Path) -> Shop:
    return Shop(tmp_path)


def run(coroutine: Coroutine[Any, Any, None]) -> None:
    asyncio.run(coroutine)


def test_who_waits_for_the_same_bundle_waits_for_one_unpacking(
    shop: Shop, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls: list[Path] = []
    unpack: Callable[[Path, Path], int] = unpacking.unpack

    def counted(archive: Path, directory: Path) -> int:
        calls.append(archive)
        return unpack(archive, directory)

    monkeypatch.setattr(unpacking, "unpack", counted)

    async def play() -> None:
        kept, digest = shop.bundles(), shop.offer("a")
        assert not kept.has(digest)
        await asyncio.gather(*(kept.prepare(digest) for _ in range(5)))
        await kept.prepare(digest)
        assert kept.has(digest)
        assert len(calls) == 1
        assert not facts.read(Path(kept.file(digest))).is_near

    run(play())


def test_what_was_not_used_for_longest_goes_but_never_what_is_in_use(shop: Shop) -> None:
    async def play() -> None:
        kept = shop.bundles(capacity=3 * SIZE)
        digests = [shop.offer(letter) for letter in "abcd"]
        for digest in digests[:2]:
            await kept.prepare(digest)
        await kept.prepare(digests[0])
        await kept.prepare(digests[2])
        assert [kept.has(digest) for digest in digests] == [True, False, True, False]
        kept.in_use = lambda: digests[:1]
        await kept.prepare(digests[3])
        assert [kept.has(digest) for digest in digests] == [True, False, False, True]
        assert shop.unpacked() == {digests[0].hex(), digests[3].hex()}
        assert [shop.has_file(digest) for digest in digests] == [True, False, False, True]

    run(play())


def test_a_bundle_that_went_is_unpacked_again(shop: Shop) -> None:
    async def play() -> None:
        kept = shop.bundles(capacity=SIZE)
        first, second = shop.offer("a"), shop.offer("b")
        for digest in (first, second, first):
            await kept.prepare(digest)
        assert kept.has(first)
        assert not kept.has(second)

    run(play())


def test_what_another_process_of_the_agent_has_unpacked_is_used(shop: Shop) -> None:
    digest = shop.offer("a")
    run(shop.bundles().prepare(digest))
    shop.blobs.path(common_pb2.BlobRef(digest=digest)).unlink()
    (shop.path / "bundles/half.1.part").mkdir()
    (shop.path / "bundles" / ("0" * 64)).mkdir()

    async def play() -> None:
        kept = shop.bundles()
        await kept.prepare(digest)
        assert kept.has(digest)
        assert shop.unpacked() == {digest.hex()}, "what was half done, or is damaged, is removed"

    run(play())


def test_a_bad_bundle_is_told_to_everybody_and_not_kept(shop: Shop) -> None:
    digest = shop.offer("a", manifest=False)

    async def play() -> None:
        kept = shop.bundles()
        for _ in range(2):
            with pytest.raises(BadBundle, match="no manifest"):
                await kept.prepare(digest)
        assert not kept.has(digest)

    run(play())


def test_on_a_full_disk_all_goes_that_is_in_no_use(shop: Shop) -> None:
    async def play() -> None:
        kept = shop.bundles()
        digests = [shop.offer(letter) for letter in "ab"]
        for digest in digests:
            await kept.prepare(digest)
        kept.in_use = lambda: digests[:1]
        kept.evict()
        assert [kept.has(digest) for digest in digests] == [True, False]
        assert shop.unpacked() == {digests[0].hex()}

    run(play())
