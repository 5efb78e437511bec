"""Results in storage of your own: stores, records, and where they go when nobody says it."""

from typing import TYPE_CHECKING

from taskyard._engine.results.records import ResultRecord, ResultRecordMetadata
from taskyard._engine.results.store import (
    ResultStore,
    get_default_result_serializer,
    get_default_result_storage,
    get_result_store,
    should_persist_result,
)
from taskyard._missing_features import absent_names

__all__ = [
    "ResultRecord",
    "ResultRecordMetadata",
    "ResultStore",
    "get_default_result_serializer",
    "get_default_result_storage",
    "get_result_store",
    "should_persist_result",
]

if not TYPE_CHECKING:  # type checkers would stop checking names
    __getattr__ = absent_names(__name__)
