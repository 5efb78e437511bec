"""What a zygote imports before it forks."""

import logging
import subprocess
import sys
from pathlib import Path

import pytest

from taskyard_agent.runner.zygote import PRELOAD, PRELOAD_TO_CALL, preload


def test_a_module_that_cannot_be_preloaded_is_named_and_does_not_end_the_zygote(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.syspath_prepend(tmp_path)
    for name, line in (("exits", "raise SystemExit(3)"), ("fails", "1 / 0"), ("works", "")):
        tmp_path.joinpath(f"preloaded_that_{name}.py").write_text(line)
    with caplog.at_level(logging.WARNING):
        preload(["preloaded_that_exits", "preloaded_that_fails", "preloaded_that_works"])
    named = [record.getMessage().removeprefix("could not preload ") for record in caplog.records]
    assert named[:2] == ["preloaded_that_exits: 3", "preloaded_that_fails: division by zero"]
    assert sys.modules.pop("preloaded_that_works")


def test_a_module_that_starts_threads_is_warned_of(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr("taskyard_agent.runner.zygote._threads", lambda: 3)
    tmp_path.joinpath("preloaded_with_threads.py").touch()
    with caplog.at_level(logging.WARNING):
        preload(["preloaded_with_threads"])
    assert "has started 2 threads" in caplog.text
    assert sys.modules.pop("preloaded_with_threads")


def test_what_calling_tasks_needs_is_imported_and_starts_nothing() -> None:
    """Or workers that are forked afterwards would lack threads which gRPC counts on."""
    program = f"""
import os, sys
from taskyard_agent.runner.zygote import preload
preload({PRELOAD!r})
assert "grpc" not in sys.modules, "workers that call nothing pay for it"
preload({PRELOAD_TO_CALL!r})
assert "grpc" in sys.modules
print(len(os.listdir("/proc/self/task")))
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert (done.stdout.split(), done.stderr) == (["1"], "")
