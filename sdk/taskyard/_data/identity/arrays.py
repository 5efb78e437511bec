"""What arrays and data frames hold, without their layout in memory: a copy holds the same.

Neither numpy nor pandas is imported here. A value of theirs can only be there when its library is.
"""

import sys
from typing import Any


def parts_of(value: Any) -> list[Any] | None:
    """Return what makes up an array, an index, a series or a frame; memory as a `memoryview` of bytes.

    Returns:
        The parts, or None for any other value.
    """
    numpy, pandas = sys.modules.get("numpy"), sys.modules.get("pandas")
    if numpy is not None and isinstance(value, getattr(numpy, "ndarray", ())):
        return _array(numpy, value)
    if pandas is None or not hasattr(pandas, "Categorical"):  # its import has begun, and not ended
        return None
    if isinstance(value, pandas.DataFrame):
        columns = [_column(value.iloc[:, position].array) for position in range(value.shape[1])]
        return [value.attrs, value.columns, value.index, columns]
    if isinstance(value, pandas.Series):
        return [value.attrs, value.name, value.index, _column(value.array)]
    if isinstance(value, pandas.MultiIndex):
        levels = [value.get_level_values(number) for number in range(value.nlevels)]
        return [list(value.names), levels]
    if isinstance(value, pandas.Index):
        return [value.name, _column(value.array)]
    return None


def _array(numpy: Any, value: Any) -> list[Any]:
    names = value.dtype.names
    if names is not None:  # between the fields there may be bytes that nobody has set
        return [list(names), value.shape, [numpy.asarray(value[name]) for name in names]]
    if value.dtype.hasobject:
        return [value.shape, value.ravel().tolist()]
    mask = getattr(value, "mask", None)  # of a masked array
    plain = numpy.ascontiguousarray(value, dtype=value.dtype)
    plain = numpy.asarray(plain).reshape(-1)
    return [value.dtype.str, value.shape, mask if mask is None else numpy.asarray(mask), _memory(plain)]


def _memory(plain: Any) -> memoryview:
    return memoryview(plain.view("u1")) if plain.size and plain.itemsize else memoryview(b"")


def _column(array: Any) -> list[Any]:
    """Return what one column holds, by its kind."""
    kind = str(array.dtype)
    if hasattr(array, "codes") and hasattr(array, "categories"):
        return [kind, array.codes, array.categories, bool(array.ordered)]
    held = getattr(array, "_ndarray", None)
    if held is not None:
        return [kind, held]
    return [kind, array.to_numpy(dtype=object).tolist()]
