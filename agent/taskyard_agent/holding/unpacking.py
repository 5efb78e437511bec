"""Bundles become directories of real files.

An archive comes from whoever may submit runs, and their code is executed here anyway; still nothing of it is
written outside its directory, so that a mistake stays one. A directory has its final name only when it is
whole.
"""

import importlib.util
import os
import py_compile
import shutil
import stat
import sys
import zipfile
import zlib
from pathlib import Path
from typing import Final

from taskyard_contract.errors import TaskyardError
from taskyard_contract.world import bundles, facts
from taskyard_contract.world.bundles import MANIFEST, Manifest
from taskyard_contract.world.facts import WorldFacts

PART_SUFFIX: Final = ".part"
COMPILED_BYTES: Final = 1024 * 1024
"""Of sources that are compiled here, once for all workers; what is beyond is compiled by who imports it."""
_SLACK: Final = 1024 * 1024
"""For the manifest."""


class BadBundle(TaskyardError):
    """The code of a program cannot be unpacked."""


def unpack(archive: Path, directory: Path) -> int:
    """Unpack a bundle into a directory that is not there yet; returns the size of its files.

    Raises:
        BadBundle: It is damaged, too large, or has names that lead elsewhere.
        OSError: The disk does not take it.
    """
    part = directory.with_name(f"{directory.name}.{os.getpid()}{PART_SUFFIX}")
    shutil.rmtree(part, ignore_errors=True)
    try:
        size = _write(archive, part)
        _compile(part, directory)
        os.replace(part, directory)
    except (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, RuntimeError) as error:
        raise BadBundle(f"the code of its program is no archive that can be read: {error}") from None
    finally:
        shutil.rmtree(part, ignore_errors=True)
    return size


def _write(archive: Path, part: Path) -> int:
    with zipfile.ZipFile(archive) as packed:
        entries = packed.infolist()
        size = sum(entry.file_size for entry in entries)
        if size > bundles.MOST_BYTES + _SLACK or len(entries) > bundles.MOST_FILES + 1:
            raise BadBundle(
                f"the code of its program has {size:,} bytes in {len(entries):,} files; an agent unpacks at "
                f"most {bundles.MOST_BYTES:,} in {bundles.MOST_FILES:,}"
            )
        _check_names([entry.filename for entry in entries])
        for entry in entries:
            mode = entry.external_attr >> 16
            if stat.S_IFMT(mode) not in (0, stat.S_IFREG):
                raise BadBundle(f"the code of its program has '{entry.filename}', which is no file")
            path = part / entry.filename
            path.parent.mkdir(parents=True, exist_ok=True)
            # No more is written than was announced: `ZipFile` reads at most that.
            path.write_bytes(packed.read(entry))
            if mode & stat.S_IXUSR:
                path.chmod(0o700)
    return size


def _check_names(names: list[str]) -> None:
    if len(set(names)) != len(names):
        raise BadBundle("the code of its program has two files of one name")
    for name in names:
        parts = name.split("/")
        if "\\" in name or "\0" in name or not all(parts) or not {".", ".."}.isdisjoint(parts):
            raise BadBundle(f"the code of its program has a file named '{name}', which would lie elsewhere")


def _compile(part: Path, directory: Path) -> None:
    """Compile the modules, for good: nothing changes here, and no worker need look whether it has."""
    left = COMPILED_BYTES
    for path in sorted(part.rglob("*.py")):
        left -= path.stat().st_size
        if left < 0:
            return
        try:
            py_compile.compile(
                str(path),
                cfile=importlib.util.cache_from_source(str(path), optimization=""),
                dfile=str(directory / path.relative_to(part)),
                doraise=True,
                optimize=0,
                invalidation_mode=py_compile.PycInvalidationMode.UNCHECKED_HASH,
            )
        except (py_compile.PyCompileError, ValueError, RecursionError):
            continue  # a template of a module, or one for another Python: who imports it is told


def facts_of(directory: Path) -> WorldFacts:
    """Return what workers need to know of a program whose bundle was unpacked here.

    Raises:
        BadBundle: It has no manifest that this release can read.
        OSError: It cannot be read.
    """
    try:
        manifest = bundles.decode((directory / MANIFEST).read_bytes())
        _check_names([*manifest.path, *filter(None, manifest.modules.values())])
    except FileNotFoundError:
        raise BadBundle("the code of its program has no manifest") from None
    except ValueError as error:
        raise BadBundle(f"the code of its program cannot be used: {error}") from None
    return WorldFacts(
        executable=sys.executable,
        version=facts.own_version(),
        prefix=sys.prefix,
        flags=[],
        path=[str(directory / place) for place in manifest.path],
        library_path=[],
        directory="",
        variables={},  # come with runs: nothing of them is written down here
        arguments=manifest.arguments,
        main=_main_of(directory, manifest),
        modules={name: str(directory / place) if place else "" for name, place in manifest.modules.items()},
        machine="",
        pid=0,
        started="",
        is_near=False,
    )


def _main_of(directory: Path, manifest: Manifest) -> facts.MainFacts:
    if not manifest.main_place:
        return manifest.main
    _check_names([manifest.main_place])
    return manifest.main._replace(file=str(directory / manifest.main_place))
