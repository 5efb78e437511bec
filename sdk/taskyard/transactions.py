"""Transactions: task runs whose effects stay together, or are undone together."""

from typing import TYPE_CHECKING

from taskyard._data.runs.transactions import CommitMode, IsolationLevel, TransactionState
from taskyard._engine.transactions.base import BaseTransaction
from taskyard._engine.transactions.contexts import AsyncTransaction, Transaction
from taskyard._engine.transactions.opening import atransaction, get_transaction, transaction
from taskyard._missing_features import absent_names

__all__ = [
    "AsyncTransaction",
    "BaseTransaction",
    "CommitMode",
    "IsolationLevel",
    "Transaction",
    "TransactionState",
    "atransaction",
    "get_transaction",
    "transaction",
]

if not TYPE_CHECKING:  # type checkers would stop checking names
    __getattr__ = absent_names(__name__)
