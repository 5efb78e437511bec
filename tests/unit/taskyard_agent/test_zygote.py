"""What a zygote imports before it forks."""

import logging
import sys
from pathlib import Path

import pytest

from taskyard_agent.runner.zygote import preload


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
