"""What programs can import, module by module: ``python -m support.public_names`` in ``tests`` prints it."""

import importlib
import pkgutil
from collections.abc import Iterator

import taskyard

ROOMS = {
    *("taskyard.artifacts", "taskyard.blocks", "taskyard.cli", "taskyard.client.orchestration"),
    *("taskyard.client.reading", "taskyard.context", "taskyard.filesystems"),
    *("taskyard.logging", "taskyard.runtime", "taskyard.settings", "taskyard.testing"),
}
"""Packages whose modules are no doors of their own, apart from `DOORS`."""
DOORS = {
    *("taskyard.blocks.core", "taskyard.blocks.fields", "taskyard.blocks.system"),
    *("taskyard.runtime.deployment", "taskyard.runtime.flow_run", "taskyard.runtime.task_run"),
    "taskyard.testing.utilities",
}
INSIDE = {"taskyard.cli", "taskyard.client.reading"}
"""Packages that are no doors either."""


def public_modules() -> Iterator[str]:
    """Yield the modules that programs import from, in order."""
    yield "taskyard"
    for found in sorted(pkgutil.walk_packages(taskyard.__path__, "taskyard."), key=lambda each: each.name):
        name, outer = found.name, found.name.rpartition(".")[0]
        private = any(part.startswith("_") for part in name.split("."))
        inside = any(outer == room or outer.startswith(f"{room}.") for room in ROOMS)
        if not private and name not in INSIDE and (name in DOORS or not inside):
            yield name


def public_names() -> Iterator[str]:
    """Yield all names, as ``module.name``."""
    for module in public_modules():
        for name in sorted(importlib.import_module(module).__all__):
            yield f"{module}.{name}"


if __name__ == "__main__":
    print("\n".join(public_names()))
