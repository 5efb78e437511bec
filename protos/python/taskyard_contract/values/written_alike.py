"""What a pickle says, without what differs between pickles of equal values. Nothing is unpickled.

Two processes write one value differently: a set of texts in the order of their hashes, which are others in
each process, and what the program's own file defines under the name of the module that the file is there.
Models of pydantic have a set of their fields' names, so most of them are concerned. Such a pickle is read as
the tree that it describes, and a digest is made of that tree; all others are told apart by their bytes, which
costs nothing.

Invariant: of the classes and functions in a pickle only the names are looked at, so that whoever may not run
code of users can do this.
"""

import hashlib
import pickletools
from typing import Any, Final

from taskyard_contract.world.script_names import MAIN, SCRIPT, is_of_a_script

MOST_BYTES: Final = 8 * 1024
"""Larger pickles are told apart by their bytes: reading takes a microsecond for each."""
_MOST_STEPS: Final = 100_000
_PICKLE: Final = b"\x80"
"""How each pickle of protocol 2 and later begins."""
_DIFFERING: Final = (b"\x90", b"\x91", MAIN.encode(), SCRIPT.encode())
"""One of these is in what may be written otherwise elsewhere: sets, frozen sets, names of such modules."""
_UNORDERED: Final = frozenset({"EMPTY_SET", "FROZENSET"})
_ADDED: Final = {"APPEND": 1, "SETITEM": 2, "BUILD": 1}
_ADDED_SINCE_MARK: Final = frozenset({"APPENDS", "SETITEMS", "ADDITEMS"})
_MADE: Final = {
    "TUPLE1": 1,
    "TUPLE2": 2,
    "TUPLE3": 3,
    "STACK_GLOBAL": 2,
    "REDUCE": 2,
    "NEWOBJ": 2,
    "NEWOBJ_EX": 3,
    "BINPERSID": 1,
}
_MADE_SINCE_MARK: Final = frozenset({"TUPLE", "LIST", "DICT", "FROZENSET", "OBJ"})
_EMPTY: Final = {"EMPTY_TUPLE": "TUPLE", "EMPTY_LIST": "LIST", "EMPTY_DICT": "DICT", "EMPTY_SET": "EMPTY_SET"}
_TUPLES: Final = {"TUPLE1": "TUPLE", "TUPLE2": "TUPLE", "TUPLE3": "TUPLE"}
_PUT: Final = frozenset({"PUT", "BINPUT", "LONG_BINPUT"})
_GET: Final = frozenset({"GET", "BINGET", "LONG_BINGET"})
_NOTHING: Final = frozenset({"PROTO", "FRAME", "STOP", "READONLY_BUFFER"})


class _Node:
    """A value: what it is made by, and of what."""

    __slots__ = ("digest", "kind", "parts")

    def __init__(self, kind: str, parts: "list[_Node]") -> None:
        self.kind = kind
        self.parts = parts
        self.digest: bytes | None = None


def digest_of_pickle(data: bytes) -> bytes:
    """Return what is the same for pickles of equal values; of bytes that are no pickle, a digest of these."""
    if data.startswith(_PICKLE) and len(data) <= MOST_BYTES and any(map(data.__contains__, _DIFFERING)):
        try:
            return _Digesting().of(_Reading().read(data))
        except Exception:  # bytes of whoever it may be; what cannot be read is only like itself
            pass
    return _hashed(b"bytes", data)


class _Reading:
    """The stack machine that pickles are written for, with nodes in the place of values."""

    def __init__(self) -> None:
        self._stack: list[_Node] = []
        self._marks: list[list[_Node]] = []
        self._memo: dict[int, _Node] = {}

    def read(self, data: bytes) -> _Node:
        for opcode, arg, _ in pickletools.genops(data):
            self._step(opcode.name, arg)
        return self._stack.pop()

    def _step(self, name: str, arg: Any) -> None:
        stack = self._stack
        if name == "MEMOIZE":
            self._memo[len(self._memo)] = stack[-1]
        elif name in _GET:
            stack.append(self._memo[int(arg)])
        elif name in _MADE:
            parts = [stack.pop() for _ in range(_MADE[name])][::-1]
            stack.append(_Node(_TUPLES.get(name, name), parts))
        elif name == "MARK":
            self._marks.append(stack)
            self._stack = []
        elif name in _EMPTY:
            stack.append(_Node(_EMPTY[name], []))
        elif name in _ADDED_SINCE_MARK:
            self._stack = self._marks.pop()
            self._stack[-1].parts += stack
        elif name in _MADE_SINCE_MARK:
            self._stack = self._marks.pop()
            self._stack.append(_Node(name, stack))
        elif name in _ADDED:
            added = [stack.pop() for _ in range(_ADDED[name])][::-1]
            stack[-1].parts += [_Node(name, added)] if name == "BUILD" else added
        elif name in _PUT:
            self._memo[int(arg)] = stack[-1]
        elif name == "DUP":
            stack.append(stack[-1])
        elif name == "POP":
            stack.pop()
        elif name == "POP_MARK":
            self._stack = self._marks.pop()
        elif name not in _NOTHING:
            stack.append(_atom(name, arg))


def _atom(name: str, arg: Any) -> _Node:
    if is_of_a_script(arg):
        arg = MAIN  # the program's own file, as whatever module it was read
    node = _Node(name, [])
    node.digest = _hashed(name.encode(), repr(arg).encode("utf-8", "surrogatepass"))
    return node


class _Digesting:
    """Makes digests of nodes, of each once, unless it is inside of itself."""

    def __init__(self) -> None:
        self._depths: dict[int, int] = {}
        self._steps = 0

    def of(self, node: _Node) -> bytes:
        return self._of(node)[0]

    def _of(self, node: _Node) -> tuple[bytes, int]:
        """Return the digest of a value, and how far out it refers: a value inside of itself is told by that.

        Raises:
            ValueError: There is no end to it.
        """
        depth = len(self._depths)
        if node.digest is not None:
            return node.digest, depth
        if id(node) in self._depths:
            return b"%d" % (depth - self._depths[id(node)]), self._depths[id(node)]
        self._steps += 1
        if self._steps > _MOST_STEPS:
            raise ValueError("too many values that are inside of themselves")
        self._depths[id(node)] = outermost = depth
        parts = []
        for part in node.parts:
            digest, refers_to = self._of(part)
            parts.append(digest)
            outermost = min(outermost, refers_to)
        del self._depths[id(node)]
        found = _hashed(node.kind.encode(), *(sorted(parts) if node.kind in _UNORDERED else parts))
        if outermost == depth:
            node.digest = found  # the same wherever it is
        return found, outermost


def _hashed(*parts: bytes) -> bytes:
    digest = hashlib.sha256()
    for part in parts:
        digest.update(b"%d:" % len(part) + part)
    return digest.digest()
