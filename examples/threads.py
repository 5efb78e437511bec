"""`ThreadPoolTaskRunner`: tasks run in threads of this process, with the same records and the same rules.

For work that waits rather than computes, and for things that cannot travel to another process, such as the
lock and the dictionary here. Breakpoints in tasks work, too.
"""

import hashlib
import sys
import sysconfig
import threading
from pathlib import Path

from taskyard import flow, task
from taskyard.task_runners import ThreadPoolTaskRunner

first_seen: dict[str, Path] = {}
lock = threading.Lock()


@task
def is_duplicate(path: Path) -> bool:
    """Says whether a file with the same content was seen before."""
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    with lock:
        return first_seen.setdefault(digest, path) != path


@flow(task_runner=ThreadPoolTaskRunner(max_workers=8))
def find_duplicates(directory: Path) -> list[Path]:
    """Returns the files whose content exists twice below a directory."""
    paths = sorted(path for path in directory.rglob("*.py") if "site-packages" not in path.parts)
    return [path for path, twice in zip(paths, is_duplicate.map(paths).result(), strict=True) if twice]


if __name__ == "__main__":
    where = Path(sys.argv[1] if len(sys.argv) > 1 else sysconfig.get_path("stdlib"))
    duplicates = find_duplicates(where)
    print(f"{where}: {len(first_seen)} different files, {len(duplicates)} duplicates")
