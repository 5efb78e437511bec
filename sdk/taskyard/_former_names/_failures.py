"""Exceptions with awkward constructors, as release 0.1.0 stored them."""

from taskyard_contract.durable_names import exception as _from_parts

__all__ = ["_from_parts"]
