"""What a task is that makes assets; `taskyard.tasks.MaterializingTask` adds the calls."""

from functools import partial
from typing import Any, Generic, Self

from taskyard._engine.definitions.decorated import P, R
from taskyard._engine.definitions.task_definition import TaskDefinition
from taskyard._engine.definitions.task_options import MaterializingSettings


class MaterializingDefinition(TaskDefinition[P, R], Generic[P, R]):
    """A task whose runs make assets."""

    settings_kind = MaterializingSettings
    materializes = True
    upstream_assets: tuple[Any, ...] = ()
    """What the arguments of the runs of this very task were made of; of those that users write nothing."""

    def _show(self, settings: Any) -> None:
        super()._show(settings)
        self.assets = list(settings.assets)
        self.materialized_by = settings.materialized_by

    def materializing_after(self, upstream: frozenset[Any]) -> Self:
        """Return the same for runs whose arguments were made of these assets."""
        return self._heir(("assets", upstream), partial(self._after, upstream))

    def _after(self, upstream: frozenset[Any]) -> Self:
        heir = self._with({})
        heir.upstream_assets = tuple(sorted(upstream, key=lambda asset: asset.key))
        return heir

    def _pickled(self) -> dict[str, Any]:
        state = super()._pickled()
        return {**state, "upstream_assets": self.upstream_assets} if self.upstream_assets else state

    def __setstate__(self, state: dict[str, Any]) -> None:
        """Become the same task in another process."""
        self.upstream_assets = state.get("upstream_assets", ())
        super().__setstate__(state)
