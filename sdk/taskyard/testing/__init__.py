"""For tests of programs that use Taskyard: a yard that is thrown away, and a plugin for pytest.

Nothing else of the package imports this. `utilities` is for people; `pytest_plugin` is loaded by pytest
itself, in every session of an environment that has both, so importing it imports next to nothing.
"""

from typing import TYPE_CHECKING

from taskyard._missing_features import absent_names

__all__: list[str] = []

if not TYPE_CHECKING:  # type checkers would stop checking names
    __getattr__ = absent_names(__name__)
