"""What all transactions are: values, a state, children, and hooks that wait for the end.

Invariant: a transaction ends once. From the moment on in which it is rolled back nothing of it can commit,
whatever its hooks do.
"""

import copy
import logging
import os
import socket
import uuid
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable
from typing import Any, Final, Protocol

from taskyard._data.runs.transactions import CommitMode, IsolationLevel, TransactionState
from taskyard._durable_names import public
from taskyard._engine.futures.future import Future
from taskyard._engine.transactions.hooks import called, name_of
from taskyard.context import active_transaction, current_transaction
from taskyard.exceptions import ConfigurationError
from taskyard.logging import get_logger
from taskyard.utilities.annotations import NotSet

Hook = Callable[..., Any]
SHARED_SECONDS: Final = 0.2
"""Between two looks whether another one with the key, which ends together with this one, has the lock."""
OVER: Final = (TransactionState.COMMITTED, TransactionState.ROLLED_BACK)


class FollowedRun(Protocol):
    """A task run inside of a transaction."""

    future: Future[Any]
    is_lazy: bool
    """Whether whoever called it takes its values one by one, so that it may never end."""

    @property
    def session(self) -> Any:
        """Where it was submitted."""

    def note_end(self) -> bool:
        """Stage what it has done; says whether it did not fail."""

    def say_unknown(self) -> None:
        """Say that nobody waits for its end."""

    def commit_now(self) -> bool:
        """Commit what it has done."""

    def roll_back_now(self) -> bool:
        """Undo what it has done."""


@public("taskyard.transactions")
class BaseTransaction(ABC):
    """A piece of work that commits or is rolled back as a whole."""

    def __init__(
        self,
        *,
        store: Any = None,
        key: str | None = None,
        children: "Iterable[BaseTransaction]" = (),
        commit_mode: CommitMode | str | None = None,
        isolation_level: IsolationLevel | str | None = IsolationLevel.READ_COMMITTED,
        state: TransactionState | str = TransactionState.PENDING,
        on_commit_hooks: Iterable[Hook] = (),
        on_rollback_hooks: Iterable[Hook] = (),
        overwrite: bool = False,
        write_on_commit: bool = True,
        logger: Any = None,
    ) -> None:
        """Make a transaction that has not begun; see `transaction` for what the arguments mean."""
        self.store = store
        self.key = key
        self.children: list[BaseTransaction] = list(children)
        self.commit_mode = None if commit_mode is None else CommitMode(commit_mode)
        self.isolation_level = None if isolation_level is None else IsolationLevel(isolation_level)
        self.state = TransactionState(state)
        self.on_commit_hooks = list(on_commit_hooks)
        self.on_rollback_hooks = list(on_rollback_hooks)
        self.overwrite = overwrite
        self.write_on_commit = write_on_commit
        self.logger: logging.Logger | logging.LoggerAdapter[Any] = logger or get_logger("transactions")
        self.entered = False
        """Whether the code inside of it is going on."""
        self.open_runs: dict[bytes, FollowedRun] = {}
        """Its task runs that have not been seen to end, in the order in which they were submitted."""
        self._parent: BaseTransaction | None = None
        self._values: dict[str, Any] = {}
        self._staged_value: Any = None
        self.commit_id = uuid.uuid4().hex
        """What the record under its key says, so that it is known for that of this very transaction."""
        self._holder = f"{socket.gethostname()}:{os.getpid()}:{self.commit_id}"
        self._holds_lock = False
        self._process = 0

    def set(self, name: str, value: Any) -> None:
        """Keep a value, a copy of it, for hooks and for the transactions inside this one.

        Args:
            name: What it is asked for by.
            value: Anything that can be copied.
        """
        self._values[name] = copy.deepcopy(value)

    def get(self, name: str, default: Any = NotSet) -> Any:
        """Return a copy of a value that was set here, or in the nearest transaction around that has it.

        Args:
            name: What it was set as.
            default: What to return where nobody has set it.

        Raises:
            ValueError: Nobody has set it, and there is no default.
        """
        if name in self._values:
            return copy.deepcopy(self._values[name])
        if self._parent is not None:
            return self._parent.get(name, default)
        if default is NotSet:
            raise ValueError(
                f"neither the transaction nor one around it has a value '{name}'; set it before, with"
                f" txn.set('{name}', ...), or give a default"
            )
        return default

    def own_values(self) -> dict[str, Any]:
        """Return what was set in it; not copied."""
        return dict(self._values)

    def is_committed(self) -> bool:
        """Say whether it has committed: now, or before this program began, where its key has a record."""
        return self.state == TransactionState.COMMITTED

    def is_rolled_back(self) -> bool:
        """Say whether it was rolled back."""
        return self.state == TransactionState.ROLLED_BACK

    def is_staged(self) -> bool:
        """Say whether its work is done and can still be undone."""
        return self.state == TransactionState.STAGED

    def is_pending(self) -> bool:
        """Say whether it has not begun."""
        return self.state == TransactionState.PENDING

    def is_active(self) -> bool:
        """Say whether it has begun, and nothing was staged."""
        return self.state == TransactionState.ACTIVE

    def get_parent(self) -> "BaseTransaction | None":
        """Return the transaction around it, during its hooks as well; None of an outermost one."""
        return self._parent

    def add_child(self, transaction: "BaseTransaction") -> None:
        """Let another one commit, or be rolled back, together with this one."""
        self.children.append(transaction)

    def stage(
        self,
        value: Any,
        on_rollback_hooks: Iterable[Hook] | None = None,
        on_commit_hooks: Iterable[Hook] | None = None,
    ) -> None:
        """Say that the work is done, what came of it, and what is to be called at the end.

        Args:
            value: What is written under the key, if there is one, when the transaction commits.
            on_rollback_hooks: Called with the transaction if it is rolled back, the last one first.
            on_commit_hooks: Called with the transaction when it commits.
        """
        if self.state in OVER:
            return
        self._staged_value = value
        self.on_rollback_hooks += on_rollback_hooks or ()
        self.on_commit_hooks += on_commit_hooks or ()
        self.state = TransactionState.STAGED

    def read(self) -> Any:
        """Return the record under its key; None where it has no key.

        Raises:
            MissingResult: There is no record.
        """
        return self.store.read(key=self.key) if self.store is not None and self.key else None

    def run_hook(self, hook: Hook, hook_type: str) -> None:
        """Call a hook with the transaction, and say so in the log.

        Args:
            hook: A function, or a coroutine function.
            hook_type: "commit" or "rollback".
        """
        self.logger.info("Running %s hook %r", hook_type, name_of(hook))
        around = current_transaction()
        active_transaction.set(None)  # what a hook does is no part of what it ends
        try:
            called(hook, self)
        except BaseException:
            self.logger.error("The %s hook %r raised", hook_type, name_of(hook))
            raise
        finally:
            active_transaction.set(around)
        self.logger.info("The %s hook %r has ended", hook_type, name_of(hook))

    def __reduce__(self) -> Any:
        """Refuse to travel: it ends in the process that opened it.

        Raises:
            TypeError: Always.
        """
        raise TypeError(
            "a transaction cannot be passed to a task, nor be returned by one: it belongs to the process that"
            " opened it; pass what txn.get(...) returns"
        )

    @classmethod
    def get_active(cls) -> "BaseTransaction | None":
        """Return the innermost transaction whose code is going on, or None."""
        found: BaseTransaction | None = current_transaction()
        while found is not None and not found.entered:  # the code that asks has outlived it
            found = found._parent
        return found

    @abstractmethod
    def commit_as_child(self) -> bool:
        """Commit as a part of the transaction around; says whether that was possible."""

    @abstractmethod
    def roll_back_as_child(self) -> None:
        """Be rolled back as a part of the transaction around."""

    # What entering and leaving have in common.

    def _prepare(self) -> None:
        """Take from the transaction around what was not said.

        Raises:
            RuntimeError: It was entered before.
            ConfigurationError: It wants a lock that nobody can give.
        """
        if self.state != TransactionState.PENDING:
            raise RuntimeError("a transaction can be entered once; make another one")
        self._process = os.getpid()
        parent = self._parent = self.get_active()
        if self.commit_mode is None:
            self.commit_mode = parent.commit_mode if parent is not None else CommitMode.LAZY
        if self.isolation_level is None:
            around = parent.isolation_level if parent is not None else None
            self.isolation_level = around or IsolationLevel.READ_COMMITTED
        if not self.key or self.isolation_level is IsolationLevel.READ_COMMITTED:
            return
        if self.store is None or not self.store.supports_isolation_level(self.isolation_level):
            raise ConfigurationError(
                f"the transaction '{self.key}' cannot have the isolation level {self.isolation_level}: that"
                " needs a store with a lock manager, for example"
                " store=ResultStore(lock_manager=FileSystemLockManager(...))"
            )

    def _wants_lock(self) -> bool:
        """Say whether it has to take a lock: one that ends together with it is shared, not waited for."""
        if self.store is None or not self.key or self.isolation_level != IsolationLevel.SERIALIZABLE:
            return False
        around = self._parent
        while around is not None:
            if around.holds_lock_of(self.key):
                return False
            around = around._parent
        return True

    def holds_lock_of(self, key: str) -> bool:
        """Say whether it, or one that commits with it, keeps others from beginning with this key."""
        if self._holds_lock and self.key == key:
            return True
        return any(child.holds_lock_of(key) for child in tuple(self.children))

    def _longest_wait(self) -> float | None:
        """Return how long to wait for the lock before looking whether it has become one to be shared."""
        return None if self._parent is None else SHARED_SECONDS

    def _took_lock(self, taken: bool) -> None:
        if not taken and self._parent is None:
            raise TimeoutError(f"the lock of transaction '{self.key}' could not be taken")
        self._holds_lock = taken

    def _find_record(self) -> None:
        if not self.overwrite and self.store is not None and self.key and self.store.exists(key=self.key):
            self.state = TransactionState.COMMITTED

    def release_all(self) -> None:
        """Keep no key from others, nor do those that end with it, also where they could not be undone."""
        self._release()
        for child in tuple(self.children):
            child.release_all()

    def _release(self) -> None:
        """Let the next transaction with the same key begin, if this one keeps it from that."""
        if not self._holds_lock:
            return
        self._holds_lock = False
        try:
            self.store.release_lock(self.key, holder=self._holder)
        except Exception:  # of a lock manager of the user's: any
            self.logger.exception("the lock of transaction %r could not be released", self.key)
