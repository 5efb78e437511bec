"""What figures are made of: sizes, memory, room on the disk, values that prove that nothing was left out."""

import os
from pathlib import Path

import pytest
from benchmarks import arrays, cpu, disk
from benchmarks.settings import Settings
from benchmarks.workloads import w8_graph

MB = 1_000_000


@pytest.mark.parametrize(("n", "expected"), [("10000", 40), ("2500", 10), ("1", 2), ("20000", 80)])
def test_sizes_shrink_and_grow_with_n(n: str, expected: int) -> None:
    assert Settings.from_environment({"N": n}).scaled(40) == expected


def test_an_array_that_was_read_proves_which_one_it_was() -> None:
    for number in (1, 7):
        assert arrays.read(arrays.make(number, MB)) == arrays.expected(number, MB) == number * 245


def test_a_missing_edge_changes_the_values_of_a_graph() -> None:
    assert w8_graph.expected(1, 3) == [0, 1, 2]
    assert w8_graph.expected(3, 3) == [3 + 2, 2 + 1, 1 + 3]


def test_room_on_the_disk_is_what_files_take(tmp_path: Path) -> None:
    tmp_path.joinpath("inside").mkdir()
    tmp_path.joinpath("inside", "value").write_bytes(os.urandom(2 * MB))
    tmp_path.joinpath("server.out").write_bytes(os.urandom(MB))
    with tmp_path.joinpath("sparse").open("wb") as file:
        file.truncate(100 * MB)
    assert disk.used_mb(tmp_path, but_for=(".out",)) == pytest.approx(2, abs=0.1)


def test_the_peak_of_memory_is_told_after_it_was_given_back() -> None:
    peaks = cpu.Peaks({"client": [os.getpid()]})
    used = bytearray(60 * MB)
    for position in range(0, len(used), 4096):
        used[position] = 1
    del used
    assert peaks.metrics()["client_grown_mb"] >= 55
    peak = peaks.metrics()["client_peak_mb"]
    cpu.reset_peak(os.getpid())
    assert cpu.peak_mb(os.getpid()) < peak - 30
