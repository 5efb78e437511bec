"""The bundle of this program: packed for agents on other machines, stored with the control plane once.

Its files are looked for when the first run is submitted, when modules have come since, and when a flow
begins. They are read when one of them has changed, and packed when no program has packed the same before. The
archive of equal files is equal, whoever packs it, so a server and an agent that have it need it no second
time.
Invariant: what a template names is stored before the template is sent.
"""

import hashlib
import io
import sys
import time
from typing import Final, NamedTuple

from taskyard._engine.world import bundle_files, packed_before, sent_parts
from taskyard._engine.world.bundle_files import Collection
from taskyard._engine.world.packed_before import Bundle
from taskyard._engine.world.project import Project, under
from taskyard._network.session.session import Session
from taskyard.exceptions import ConfigurationError, PayloadTooLarge
from taskyard_contract.world import bundles
from taskyard_contract.world.bundles import MANIFEST, Manifest
from taskyard_contract.world.facts import WorldFacts

PAUSE: Final = 20.0
"""Between two looks at all files, in times that one takes: flows may begin hundreds of times a second."""
_MODES: Final = {False: 0o100644, True: 0o100755}
_FIRST_DATE: Final = (1980, 1, 1, 0, 0, 0)
"""The earliest that a zip archive can say; that of all files, so that equal files are equal archives."""
_LEVEL: Final = 1
_SAMPLE_BYTES: Final = 16 * 1024
_WORTH: Final = 0.95
_UNIX: Final = 3


class _Packed(NamedTuple):
    collection: Collection
    manifest: bytes
    bundle: Bundle


class Bundler:
    """Packs the code of this program."""

    def __init__(self, project: Project) -> None:
        """Pack nothing yet of a project."""
        self._project = project
        self._known: WorldFacts | None = None
        self._collection: Collection | None = None
        self._packed: _Packed | None = None
        self._more: tuple[str, ...] = ()
        self._modules = 0
        self._look_after = 0.0
        self._is_doubted = False
        self._is_outdated = False
        self._stored: set[tuple[bytes, bytes]] = set()

    def is_known(self) -> bool:
        """Say whether the files have been looked for."""
        return self._collection is not None

    def doubt(self) -> None:
        """Have the files looked at again: a flow begins."""
        self._is_doubted = True

    def include(self, patterns: tuple[str, ...]) -> None:
        """Send further files from now on: what a flow has as its `code`."""
        new = tuple(pattern for pattern in patterns if pattern not in self._more)
        if new:
            self._more += new
            self._look_after, self._is_doubted = 0.0, True

    def is_same(self) -> bool:
        """Say whether the files are what they were; mostly by counting modules."""
        collection = self._collection
        if collection is None:
            return True
        if self._is_outdated:
            return False
        if len(sys.modules) != self._modules:
            if not collection.parts.issuperset(sent_parts.loaded()):
                return False
            self._modules = len(sys.modules)
        if self._is_doubted and time.monotonic() >= self._look_after:
            try:
                self._is_outdated = self._collect() != collection
            except (ConfigurationError, PayloadTooLarge):
                self._is_outdated = True  # why, is said when it is packed
        return not self._is_outdated

    def look(self, known: WorldFacts) -> bool:
        """Find the files.

        Args:
            known: What there is of the program besides.

        Returns:
            Whether packages or modules have changed that workers may have imported.

        Raises:
            ConfigurationError, PayloadTooLarge: See `bundle_files.collect`.
        """
        before = self._collection
        self._known = known
        self._modules, self._is_outdated = len(sys.modules), True
        self._collection = self._collect()
        self._is_outdated = False
        return before is not None and _is_replaced(before, self._collection)

    def _collect(self) -> Collection:
        known = self._known
        if known is None:
            raise RuntimeError("nothing is known of the program yet")
        self._is_doubted, began = False, time.monotonic()
        found = bundle_files.collect(
            self._project, sent_parts.loaded(), known.main, known.modules, self._more
        )
        ended = time.monotonic()
        self._look_after = ended + PAUSE * (ended - began)
        return found

    def stored(self, session: Session) -> Bundle:
        """Return the bundle, which the control plane of a session has.

        Raises:
            ConfigurationError: A file cannot be read.
            PayloadTooLarge: It is larger than the control plane takes.
        """
        bundle, data = self._pack()
        if session.failed or (session.session_id, bundle.digest) in self._stored:
            return bundle
        client = session.client()
        if data is None and not client.is_stored(bundle.digest):
            bundle, data = self._pack(anyhow=True)
        if data is not None:
            _check_size(len(data), session.max_payload_bytes)
            session.blobs.put_for_all(data)
        self._stored.add((session.session_id, bundle.digest))
        return bundle

    def _pack(self, anyhow: bool = False) -> tuple[Bundle, bytes | None]:
        """Return the bundle, and its content if it had to be packed."""
        collection = self._collection or self._collect()
        manifest, packed = self._manifest(collection), self._packed
        if packed is not None and not anyhow and packed[:2] == (collection, manifest):
            return packed.bundle, None
        contents = {place: _read(source.path) for place, source in collection.sources.items()}
        content = _content_of(collection, manifest, contents)
        known = None if anyhow else packed_before.find(content)
        if known is not None:
            self._packed = _Packed(collection, manifest, known)
            return known, None
        data = archive_of(collection, manifest, contents)
        bundle = Bundle(hashlib.sha256(data).digest(), len(data))
        packed_before.note(content, bundle)
        self._packed = _Packed(collection, manifest, bundle)
        return bundle, data

    def _manifest(self, collection: Collection) -> bytes:
        known = self._known
        if known is None:
            raise RuntimeError("nothing is known of the program yet")
        return bundles.encode(
            Manifest(
                path=collection.path,
                modules=collection.modules,
                main=known.main,
                main_place=collection.main_place,
                arguments=known.arguments,
            )
        )


def _is_replaced(before: Collection, now: Collection) -> bool:
    """Say whether anything of what was sent has changed: modules besides it need no other workers."""
    sources = {source.path: source for source in now.sources.values()}
    if any(sources.get(source.path) != source for source in before.sources.values()):
        return True
    # A worker that has imported a package looks for what is new in it where the package was.
    new = sources.keys() - {source.path for source in before.sources.values()}
    return any(under(part.path, path) for path in new for part in before.parts)


def archive_of(collection: Collection, manifest: bytes, contents: dict[str, bytes]) -> bytes:
    """Pack files, by their places, and a manifest."""
    import zlib
    from zipfile import ZIP_DEFLATED, ZIP_STORED, ZipFile, ZipInfo  # 20 ms; most were packed before

    def entry(place: str, content: bytes, is_executable: bool) -> ZipInfo:
        sample = content[:_SAMPLE_BYTES]  # images and the like do not get smaller, which takes long to find
        pays = len(zlib.compress(sample, _LEVEL)) < len(sample) * _WORTH
        made = ZipInfo(place, _FIRST_DATE)
        made.create_system, made.compress_type = _UNIX, ZIP_DEFLATED if pays else ZIP_STORED
        made.external_attr = _MODES[is_executable] << 16
        return made

    out = io.BytesIO()
    with ZipFile(out, "w", compresslevel=_LEVEL) as archive:
        archive.writestr(entry(MANIFEST, manifest, False), manifest)
        for place in sorted(contents):
            content = contents[place]
            archive.writestr(entry(place, content, collection.sources[place].is_executable), content)
    return out.getvalue()


def _content_of(collection: Collection, manifest: bytes, contents: dict[str, bytes]) -> bytes:
    seen = hashlib.sha256(manifest)
    for place in sorted(contents):
        seen.update(hashlib.sha256(contents[place]).digest())
        seen.update(
            f"{place}\0{collection.sources[place].is_executable}\0".encode("utf-8", "surrogateescape")
        )
    return seen.digest()


def _read(path: str) -> bytes:
    try:
        with open(path, "rb") as file:
            return file.read()
    except OSError as error:
        raise bundle_files.unreadable(path, error) from None


def _check_size(size: int, limit: int) -> None:
    if size > limit:
        raise PayloadTooLarge(
            f"the code of this program, packed for workers on other machines, takes {size:,} bytes, and the "
            f"server takes at most {limit:,}; name what workers do not need under 'exclude' in "
            '[tool.taskyard] of pyproject.toml, or have the code where they run and say code = "image" there',
            limit=limit,
        )
