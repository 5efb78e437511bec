from collections.abc import Callable
from typing import Any

import pytest

from taskyard._data.values.hashing import hash_objects

np = pytest.importorskip("numpy", reason="arrays are compared where numpy is")
EQUAL: list[Callable[[], Any]] = [
    lambda: np.arange(12).reshape(3, 4),
    lambda: np.asfortranarray(np.arange(12).reshape(3, 4)),
    lambda: np.arange(24).reshape(3, 8)[:, ::2] // 2,
]
OTHER: list[Callable[[], Any]] = [
    lambda: np.arange(12),
    lambda: np.arange(12).reshape(4, 3),
    lambda: np.arange(12.0).reshape(3, 4),
    lambda: np.arange(12, dtype=">i8").reshape(3, 4),
    lambda: np.zeros((3, 4), dtype=int),
    lambda: np.array([{"a": 1}, None], dtype=object),
    lambda: np.array(["a", "bc"]),
    lambda: np.array([], dtype=int),
    lambda: np.array(["2024-01-01"], dtype="M8[D]"),
    lambda: np.array([(1, 2.0)], dtype=[("a", "i4"), ("b", "f8")]),
    lambda: np.ma.masked_array([1, 2, 3], mask=[True, False, False]),
    lambda: np.array(5),
    lambda: np.float64(5),
    lambda: memoryview(b"abc"),
]


def test_arrays_are_known_by_what_they_hold() -> None:
    assert len({hash_objects(make()) for make in EQUAL}) == 1
    for make in (*EQUAL, *OTHER):
        assert hash_objects(make()) == hash_objects(make()) is not None
    assert len({hash_objects(make()) for make in (EQUAL[0], *OTHER)}) == 1 + len(OTHER)


def test_frames_are_known_by_what_they_hold() -> None:
    pd = pytest.importorskip("pandas", reason="frames are compared where pandas is")

    def frame(**columns: Any) -> Any:
        plain = {"a": range(3), "b": list("xyz"), "when": pd.date_range("2024-01-01", periods=3)}
        kinds = {
            "kind": pd.Categorical(list("aba")),
            "maybe": pd.array([1, None, 3], dtype="Int64"),
            "text": pd.array(["a", None, "c"], dtype="string"),
        }
        return pd.DataFrame({**plain, **kinds, **columns})

    made = frame()
    one_by_one = pd.concat([frame()[[name]] for name in made.columns], axis=1)
    assert (
        hash_objects(made) == hash_objects(made.copy()) == hash_objects(frame()) == hash_objects(one_by_one)
    )
    others = [
        made,
        frame(a=[0, 1, 3]),
        frame(a=[0.0, 1.0, 2.0]),
        frame(kind=pd.Categorical(list("abb"))),
        frame(maybe=pd.array([1, 2, 3], dtype="Int64")),
        made.set_index("b"),
        made.set_index(["a", "b"]),
        made[["b", "a"]],
        made["a"],
        made["a"].rename("c"),
        made.index,
        made.iloc[:0],
    ]
    assert len({hash_objects(other) for other in others}) == len(others)
