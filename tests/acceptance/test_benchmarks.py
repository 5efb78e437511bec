"""The benchmarks run: each workload, with hardly any work, on Taskyard alone."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[2]
TINY = {"N": "20", "ROUNDS": "1", "ROUND_TRIPS": "3", "WIDTH": "10", "QUEUED": "100"}
SECONDS = 150.0


def measured(workloads: str) -> list[dict[str, Any]]:
    """Run workloads, and return their results."""
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks"],
        cwd=ROOT,
        env={**os.environ, **TINY, "WORKLOADS": workloads, "PEERS": ""},
        capture_output=True,
        text=True,
        timeout=SECONDS,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return [json.loads(line) for line in done.stdout.splitlines() if line.startswith("{")]


@pytest.mark.parametrize(
    ("workloads", "variants"),
    [
        ("W1,W2,W4,W8", {"map", "submit", "sequential", "map-reduce", "graph"}),
        pytest.param("W5", {"queued-100"}, marks=pytest.mark.slow),
        pytest.param("W6", {"20 MB", "1 MB", "shared"}, marks=pytest.mark.slow),
        pytest.param("W6-uploads", {"round trips", "round trips, directory"}, marks=pytest.mark.slow),
        pytest.param("W7", {"sessions-1", "sessions-2"}, marks=pytest.mark.slow),
        pytest.param("W9", {"finished-6000-open-2000"}, marks=pytest.mark.slow),
    ],
)
def test_a_workload_runs(workloads: str, variants: set[str]) -> None:
    results = measured(workloads)
    assert {result["variant"] for result in results} - {"pruned"} == variants
    assert all(result["metrics"] for result in results)
