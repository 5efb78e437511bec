"""Blocks: typed configuration with what is secret in it, saved under a name and kept by the control plane."""

from typing import TYPE_CHECKING, Any, Final

from taskyard._missing_features import absent_names

__all__ = ["core", "fields", "system"]

_MODULES: Final = frozenset(__all__)

if not TYPE_CHECKING:  # type checkers would stop checking names
    _absent = absent_names(__name__)

    def __getattr__(name: str) -> Any:
        """Import a module when it is first used."""
        import importlib

        return importlib.import_module(f"{__name__}.{name}") if name in _MODULES else _absent(name)
