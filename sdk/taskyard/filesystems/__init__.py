"""File systems as blocks: saved under a name, they say where files and results are, wherever a task runs.

In asynchronous code their methods return awaitables; those that begin with "a" always do.
"""

from typing import TYPE_CHECKING

from taskyard._missing_features import absent_names
from taskyard.filesystems.interfaces import (
    ReadableDeploymentStorage,
    ReadableFileSystem,
    WritableDeploymentStorage,
    WritableFileSystem,
)
from taskyard.filesystems.local import LocalFileSystem
from taskyard.filesystems.remote import RemoteFileSystem

__all__ = [
    "LocalFileSystem",
    "ReadableDeploymentStorage",
    "ReadableFileSystem",
    "RemoteFileSystem",
    "WritableDeploymentStorage",
    "WritableFileSystem",
]

if not TYPE_CHECKING:  # type checkers would stop checking names
    __getattr__ = absent_names(__name__)
