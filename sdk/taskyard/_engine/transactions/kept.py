"""What transactions of a flow run keep with the control plane, so that they are rolled back without it.

Of each hook `on_rollback` there is a run that starts when the flow run has ended without having taken it
back. Who makes these runs stands above this room, and is found in the context of the flow run; outside of
flow runs there is nobody, and all of this does nothing.

Invariant: whatever has hooks is kept before its run is submitted, and taken back when it has committed, or
when the hook has been called here. So between two of these steps somebody will call it.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any, Final, Protocol

from taskyard._engine.transactions.base import OVER, BaseTransaction, Hook
from taskyard.context import current_context

_commits: Final[ContextVar[bool]] = ContextVar("taskyard_commits", default=False)
"""Whether a transaction is committing what is inside of it, so that it says itself that it has."""


class Rollbacks(Protocol):
    """Keeps the hooks of an outermost transaction, and of all inside of it."""

    def add(self, parts: "Sequence[KeptTransaction]") -> None:
        """Keep the hooks of some transactions."""

    def renew(self) -> None:
        """Keep all of them again, because values have changed that they are called with."""

    def called(self, part: BaseTransaction, index: int) -> None:
        """Take back the hook at an index of a transaction: it was called here."""

    def take_back(self, part: BaseTransaction) -> None:
        """Take back the hooks of a transaction and of those inside of it."""

    def end(self) -> None:
        """Take back everything."""

    def begun_elsewhere(self, *, is_part: bool) -> bool:
        """Say whether agents roll back, because the flow run was taken for lost; else they do not begin now.

        Args:
            is_part: Whether this was asked for the transaction around, and nobody has to be asked again.
        """
        ...


@contextmanager
def committing() -> Iterator[None]:
    """Let what commits inside leave it to the transaction around to say so."""
    token = _commits.set(True)
    try:
        yield
    finally:
        _commits.reset(token)


class KeptTransaction(BaseTransaction):
    """A transaction whose hooks may have to be called by somebody else."""

    rollbacks: Rollbacks | None = None
    """Of an outermost transaction with such hooks."""
    _keeper: Any = None
    """What makes it."""

    @property
    def hooks_to_keep(self) -> Sequence[Any]:
        """Hooks that are called if it is rolled back, the last one first."""
        return self.on_rollback_hooks

    def _prepare(self) -> None:
        super()._prepare()
        if self._parent is None:
            self._keeper = getattr(current_context(), "keep_rollbacks", None)

    def keep(self, parts: "Sequence[KeptTransaction]") -> None:
        """Keep the hooks of transactions that are inside of this one, or are this one."""
        around: BaseTransaction = self
        while around.state not in OVER and (parent := around.get_parent()) is not None:
            around = parent
        if around.state in OVER or not isinstance(around, KeptTransaction) or around._keeper is None:
            return  # what is over ends what comes late at once
        if around.rollbacks is None:
            around.rollbacks = around._keeper(around)
        if around.rollbacks is not None:
            around.rollbacks.add(parts)

    def _kept(self) -> Rollbacks | None:
        around: BaseTransaction = self
        while (parent := around.get_parent()) is not None:
            around = parent
        return around.rollbacks if isinstance(around, KeptTransaction) else None

    def _values_changed(self) -> None:
        kept = self._kept()
        if kept is not None and self.state not in OVER:
            kept.renew()

    def _is_done(self) -> None:
        """Say that nobody else has to roll it back: it has committed, or was rolled back."""
        kept = self._kept()
        if kept is None or _commits.get():
            return
        if self.get_parent() is None:
            kept.end()
        else:
            kept.take_back(self)

    def run_hook(self, hook: Hook, hook_type: str) -> None:
        """Call a hook with the transaction, and say so in the log.

        Args:
            hook: A function, or a coroutine function.
            hook_type: "commit" or "rollback".
        """
        token = _commits.set(False)  # a transaction that a hook opens commits by itself
        try:
            super().run_hook(hook, hook_type)
        finally:
            _commits.reset(token)

    def _is_lost(self) -> bool:
        """Say whether it cannot commit any more, because agents roll it back."""
        kept = None if _commits.get() else self._kept()
        return kept is not None and kept.begun_elsewhere(is_part=False)

    def _is_undone_elsewhere(self) -> bool:
        kept, around = self._kept(), self.get_parent()
        is_part = around is not None and around.is_rolled_back()
        if kept is None or not kept.begun_elsewhere(is_part=is_part):
            return False
        self.logger.error(
            "the flow run was taken for lost, so agents roll back %s: no hook is called here",
            repr(self.key) if self.key else "its transaction",
        )
        return True

    def _was_called(self, index: int) -> None:
        kept = self._kept()
        if kept is not None:
            kept.called(self, index)
