"""Makes the virtualenv of each peer, once: their dependencies contradict each other's and Taskyard's."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

from benchmarks.settings import CHECKOUT

FOLDER = CHECKOUT / ".bench-venv"
_PACKAGES = {
    # NumPy for W6; Taskyard's own environment has it from its tests.
    "ray": ["ray", "numpy"],
    "dask": ["dask", "distributed", "numpy"],
    "celery": ["celery[redis]"],
    # Prefect's server uses an argument that later FastAPI releases no longer take, though it allows them.
    "prefect": ["prefect", "fastapi>=0.139,<0.140"],
}
_COMPLETE = "installed.txt"


def ensure(peer: str) -> Path:
    """Return the interpreter of the peer's virtualenv, installing it when it is missing or incomplete."""
    folder = FOLDER / peer
    marker = folder / _COMPLETE
    wanted = "\n".join(_PACKAGES[peer])
    python = folder / "bin" / "python"
    if not marker.exists() or marker.read_text() != wanted:
        _say(f"installing {peer} into {folder.relative_to(CHECKOUT)}")
        _run([sys.executable, "-m", "venv", "--clear", str(folder)])
        _run([str(python), "-m", "pip", "install", "--quiet", *_PACKAGES[peer]])
        marker.write_text(wanted)
    if peer == "celery":
        _ensure_redis()
    return python


def _ensure_redis() -> None:
    """Install Debian's package where that is allowed; the Celery driver says so where it is not."""
    if shutil.which("redis-server") or os.geteuid() != 0 or not shutil.which("apt-get"):
        return
    _say("installing redis-server from Debian")
    quiet = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
    for command in (["apt-get", "update", "-q"], ["apt-get", "install", "-y", "-q", "redis-server"]):
        subprocess.run(command, env=quiet, stdout=sys.stderr, check=False)


def _run(command: list[str]) -> None:
    subprocess.run(command, stdout=sys.stderr, check=True)


def _say(text: str) -> None:
    print(f"benchmarks: {text}", file=sys.stderr, flush=True)
