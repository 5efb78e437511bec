"""How many runs may wait when nobody says it."""

import resource
from pathlib import Path

import pytest

from taskyard_agent.waiting_limit import (
    LEAST,
    WAITING_BYTES,
    available_bytes,
    default_limit,
    most_by_descriptors,
    raise_descriptors,
)

MANY = 1 << 20


def test_half_of_what_is_free_is_for_runs_that_wait() -> None:
    assert default_limit(2, 200 * WAITING_BYTES, MANY) == 100


def test_a_small_machine_and_many_slots_still_allow_some() -> None:
    assert default_limit(2, 0, MANY) == LEAST
    assert default_limit(100, 0, MANY) == 200


def test_there_are_never_more_than_can_be_opened() -> None:
    most = most_by_descriptors(2, 1024)
    assert 150 < most < 200
    assert default_limit(2, 1 << 50, 1024) == most
    assert default_limit(2, 1 << 50, 10) == 1


@pytest.mark.parametrize(
    ("allowed", "free"),
    [("max", 4096 * 1024), ("3000000", 2_000_000), ("9000000000", 4096 * 1024), ("900", 0)],
)
def test_memory_is_what_machine_and_container_leave(tmp_path: Path, allowed: str, free: int) -> None:
    meminfo = tmp_path / "meminfo"
    meminfo.write_text("MemTotal: 9000 kB\nMemAvailable: 4096 kB\n")
    (tmp_path / "memory.max").write_text(f"{allowed}\n")
    (tmp_path / "memory.current").write_text("1000000\n")
    assert available_bytes(meminfo, tmp_path) == free


def test_a_system_that_says_nothing_has_some_memory(tmp_path: Path) -> None:
    assert available_bytes(tmp_path / "meminfo", tmp_path) > 1 << 30


@pytest.mark.parametrize(
    ("before", "raised"),
    [
        ((1_024, 4_096), (4_096, 4_096)),
        ((1_024, resource.RLIM_INFINITY), (1 << 16, resource.RLIM_INFINITY)),
        ((4_096, 4_096), None),
        ((resource.RLIM_INFINITY, resource.RLIM_INFINITY), None),
    ],
)
def test_as_many_files_may_be_open_as_the_system_allows(
    monkeypatch: pytest.MonkeyPatch, before: tuple[int, int], raised: tuple[int, int] | None
) -> None:
    asked: list[tuple[int, int]] = []
    monkeypatch.setattr(resource, "getrlimit", lambda what: before)
    monkeypatch.setattr(resource, "setrlimit", lambda what, limits: asked.append(limits))
    assert raise_descriptors() == before[0]
    assert asked == ([raised] if raised else [])
