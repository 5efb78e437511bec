"""What code mentions, and what code is: read from code objects, which know it without a source text."""

import dis
from functools import lru_cache
from types import CodeType
from typing import Any, NamedTuple

from taskyard_contract.code_lines import inner_codes


class Names(NamedTuple):
    """The names outside of it that a code object mentions, with the code inside of it."""

    read: tuple[str, ...]
    """Globals that it reads and does not assign, so that they are given to it."""
    assigned: frozenset[str]
    """Globals that it assigns: what it keeps there is a state, and no part of what it is."""
    attributes: frozenset[str]
    """Names that may be attributes of a module."""


@lru_cache(maxsize=1024)
def names_in(code: CodeType) -> Names:
    """Return the names that code mentions."""
    read, assigned = set[str](), set[str]()
    attributes = set[str]()
    for one in (code, *inner_codes(code)):
        attributes.update(one.co_names)
        for instruction in dis.get_instructions(one):
            if instruction.opname in ("STORE_GLOBAL", "DELETE_GLOBAL"):
                assigned.add(instruction.argval)
            elif instruction.opname in ("LOAD_GLOBAL", "LOAD_NAME", "LOAD_FROM_DICT_OR_GLOBALS"):
                read.add(instruction.argval)
    return Names(tuple(sorted(read)), frozenset(assigned), frozenset(attributes))


def described(code: CodeType) -> list[Any]:
    """Return all of a code object that decides what it does: not where it lies, nor what its lines are."""
    return [
        code.co_name,
        code.co_code,
        code.co_exceptiontable,
        code.co_flags,
        [code.co_argcount, code.co_posonlyargcount, code.co_kwonlyargcount],
        [list(code.co_names), list(code.co_varnames), list(code.co_freevars), list(code.co_cellvars)],
        [described(one) if isinstance(one, CodeType) else one for one in code.co_consts],
    ]
