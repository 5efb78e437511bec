"""What an agent says of the memory of its machine."""

from pathlib import Path

import pytest

from taskyard_agent.machine_memory import Memory, read_memory

KIB = 1024
MEMINFO = "MemTotal:  8000 kB\nMemFree: 100 kB\nMemAvailable: 5000 kB\nHugePages_Total: 0\n"
MACHINE = Memory(3000 * KIB, 8000 * KIB)


@pytest.fixture
def meminfo(tmp_path: Path) -> Path:
    path = tmp_path / "meminfo"
    path.write_text(MEMINFO)
    return path


def container(root: Path, limit: str) -> None:
    (root / "memory.max").write_text(f"{limit}\n")
    (root / "memory.current").write_text("900000\n")
    (root / "memory.stat").write_text("anon 500000\nfile 400000\ninactive_file 300000\n")


def old_container(root: Path, limit: str) -> None:
    (root / "memory").mkdir()
    (root / "memory" / "memory.limit_in_bytes").write_text(f"{limit}\n")
    (root / "memory" / "memory.usage_in_bytes").write_text("900000\n")
    (root / "memory" / "memory.stat").write_text("cache 4\ntotal_inactive_file 300000\n")


def test_without_a_container_it_is_that_of_the_machine(meminfo: Path, tmp_path: Path) -> None:
    assert read_memory(meminfo, tmp_path) == MACHINE


@pytest.mark.parametrize("make", [container, old_container])
@pytest.mark.parametrize(
    ("limit", "expected"),
    [
        ("1000000", Memory(600_000, 1_000_000)),
        (str(8000 * KIB), MACHINE),
        ("9223372036854771712", MACHINE),
        ("max", MACHINE),
    ],
)
def test_a_container_counts_when_it_may_use_less(
    meminfo: Path, tmp_path: Path, make: object, limit: str, expected: Memory
) -> None:
    assert callable(make)
    make(tmp_path, limit)
    assert read_memory(meminfo, tmp_path) == expected


def test_a_system_that_says_nothing_is_not_guessed_at(tmp_path: Path) -> None:
    assert read_memory(tmp_path / "meminfo", tmp_path) is None
    (tmp_path / "meminfo").write_text("MemTotal: many kB\n")
    assert read_memory(tmp_path / "meminfo", tmp_path) is None


def test_a_container_is_known_without_its_machine(tmp_path: Path) -> None:
    container(tmp_path, "1000000")
    assert read_memory(tmp_path / "meminfo", tmp_path) == Memory(600_000, 1_000_000)
