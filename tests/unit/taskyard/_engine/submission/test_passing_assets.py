"""What results carry along, for a while."""

import pytest

from taskyard._engine.assets.asset import Asset
from taskyard._engine.submission import passing_assets
from taskyard._engine.submission.passing_assets import NONE, Passed

A = frozenset([Asset("s3://a")])


def test_runs_of_long_ago_are_let_go(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(passing_assets, "_MOST_RUNS", 2)
    passed = Passed()
    for number in range(3):
        passed.note_run(bytes([number]), A)
    assert [passed.of_run(bytes([number])) for number in range(3)] == [NONE, A, A]
