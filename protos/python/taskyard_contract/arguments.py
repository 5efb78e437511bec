"""The arguments of a run as its code gets them: decoded, with results of upstream runs in their places."""

from typing import Any

from taskyard_contract import pickling
from taskyard_contract.encodings import JSON, PICKLE, decode
from taskyard_contract.execution import Invocation
from taskyard_contract.references import resolve, resolving

Arguments = tuple[tuple[Any, ...], dict[str, Any]]
"""Positional and keyword arguments."""


def read_arguments(invocation: Invocation) -> Arguments:
    """Decode the arguments of a run.

    Pickles hold both kinds of arguments, JSON the object that `json_values` describes; bytes, and messages,
    are the one argument of the call.

    Raises:
        Exception: They cannot be decoded; unpickling runs foreign code.
    """
    if not invocation.args:
        return (), {}
    encoding = invocation.encoding
    if encoding == PICKLE:
        return _unpickled(invocation)
    if encoding == JSON:
        from taskyard_contract.languages import json_values  # not for runs whose arguments are pickles

        with resolving(invocation.inputs or {}):
            return json_values.loads_arguments(bytes(invocation.args), resolve)
    extra = invocation.extra
    return (decode(invocation.args, encoding, extra.payload.type if extra is not None else ""),), {}


def _unpickled(invocation: Invocation) -> Arguments:
    if invocation.inputs is None:
        args, kwargs = pickling.loads(invocation.args)
    else:
        with resolving(invocation.inputs):
            args, kwargs = pickling.loads(invocation.args)
    return args, kwargs
