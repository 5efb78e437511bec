"""Modules that Prefect has, or had, by their names below the package.

A module inside of one that is listed cannot be asked for: the import ends at the outer one.
"""

from typing import Final

from taskyard._prefect_names import reasons
from taskyard._prefect_names.reasons import here, moved

MODULES: Final[dict[str, str]] = {
    # 3
    "runner": reasons.DEPLOY,
    **dict.fromkeys(
        [f"deployments.{name}" for name in ("base", "flow_runs", "runner", "schedules", "steps")],
        reasons.DEPLOY,
    ),
    **dict.fromkeys(
        [f"client.{name}" for name in ("schemas.actions", "schemas.schedules", "schemas.events")],
        reasons.CLIENT_CHANGES,
    ),
    "client.cloud": reasons.CLOUD,
    **dict.fromkeys(
        [f"client.{name}" for name in ("base", "collections", "constants", "utilities", "types")],
        reasons.HELPERS,
    ),
    "client.subscriptions": reasons.EVENTS,
    **dict.fromkeys(
        [
            f"blocks.{name}"
            for name in ("abstract", "kubernetes", "notifications", "redis", "storage", "webhook")
        ],
        reasons.BLOCKS,
    ),
    **dict.fromkeys(
        [f"events.{name}" for name in ("filters", "related", "subscribers", "worker")], reasons.EVENTS
    ),
    "concurrency.v1": moved("taskyard.concurrency.sync and taskyard.concurrency.asyncio"),
    **dict.fromkeys(["concurrency.context", "concurrency.events", "concurrency.services"], reasons.LIMITS),
    "input.actions": reasons.PAUSE,
    "types.entrypoint": reasons.DEPLOY,
    **dict.fromkeys(["types._datetime", "types.names"], reasons.HELPERS),
    **dict.fromkeys(["assets.core", "assets.materialize"], moved("taskyard.assets")),
    **dict.fromkeys(["settings.context", "settings.models.root"], moved("taskyard.settings")),
    **dict.fromkeys(["settings.base", "settings.legacy"], reasons.SETTINGS),
    "cli.root": "the command line is a program here, not a module to import: 'taskyard --help'",
    "server": reasons.SERVER,
    **dict.fromkeys(["workers", "infrastructure"], reasons.INFRASTRUCTURE),
    **dict.fromkeys(["plugins", "collections"], reasons.PLUGINS),
    "profiles": reasons.PROFILES,
    **dict.fromkeys(["docker", "software"], reasons.SOFTWARE),
    **dict.fromkeys(["telemetry", "main", "session"], reasons.HELPERS),
    **dict.fromkeys(
        [f"logging.{name}" for name in ("clients", "filters", "handlers", "highlighters")], reasons.HELPERS
    ),
    # 2
    "orion": reasons.SERVER,
    **dict.fromkeys(["packaging", "manifests", "projects", "flow_runners"], reasons.STORAGE),
    "agent": "agents are started, not imported: 'taskyard agent start'",
    # 1
    "engine": (
        "what Prefect 1 has in its engine (TaskRunner, signals, results) is not in this release; states"
        " are in"
        " taskyard.states, task.fn(...) calls the function, and flow(return_state=True) returns a state"
    ),
    "core": reasons.IMPERATIVE,
    "triggers": reasons.TRIGGERS,
    "executors": reasons.EXECUTORS,
    "environments": reasons.EXECUTORS,
    "run_configs": reasons.INFRASTRUCTURE,
    "storage": reasons.STORAGE,
    "backend": reasons.OLD_CLIENT,
    **dict.fromkeys(["api", "models"], reasons.SERVER),
    "serialization": reasons.STORAGE,
    "configuration": reasons.SETTINGS,
    "tasks.core": reasons.IMPERATIVE,
    "tasks.control_flow": reasons.CONTROL_FLOW,
    "tasks.notifications": reasons.NOTIFICATIONS,
    "tasks.prefect": reasons.DEPLOY,
    "tasks.secrets": here("Secret", "taskyard.blocks.system"),
    **dict.fromkeys(
        [
            f"tasks.{name}"
            for name in ("shell", "docker", "kubernetes", "aws", "gcp", "github", "dbt", "files")
        ],
        reasons.TASK_LIBRARY,
    ),
    # inside packages that exist
    "logging.configuration": "taskyard.logging.configure() does it here, or TASKYARD_LOG_LEVEL",
    "utilities.tasks": (
        "Prefect 1's helpers for graphs are not in this release; task and tags are in taskyard itself"
    ),
    "utilities.edges": moved("taskyard (unmapped)") + "; " + reasons.FLATTEN,
    "utilities.logging": moved("taskyard.logging (get_logger, get_run_logger)"),
    "utilities.context": reasons.RUN_CONTEXT,
    "utilities.notifications": reasons.NOTIFICATIONS,
    "utilities.configuration": reasons.SETTINGS,
    "utilities.debug": (
        "exceptions of tasks are raised where their values are asked for, so there is nothing to switch on"
    ),
    **dict.fromkeys(
        [f"testing.{name}" for name in ("cli", "docker", "events", "fixtures", "standard_test_suites")],
        reasons.TESTING,
    ),
    "utilities.testing": moved("taskyard.testing.utilities"),
    "utilities.exceptions": moved("taskyard.exceptions"),
    **dict.fromkeys(
        [
            f"utilities.{name}"
            for name in (
                *("aws", "gcp", "kubernetes", "executors", "graphql", "serialization", "storage", "backend"),
                *(
                    "agent",
                    "airflow",
                    "compat",
                    "dispatch",
                    "dockerutils",
                    "engine",
                ),
                *(
                    "filesystem",
                    "filesystems",
                    "generics",
                    "git",
                    "importtools",
                    "math",
                    "names",
                    "processutils",
                    "pydantic",
                    "render_swagger",
                ),
                *("schema_tools", "services", "slugify", "templating", "text", "timeout", "urls"),
                *("datetimes", "diagnostics", "docker_util", "httpx"),
            )
        ],
        reasons.HELPERS,
    ),
}
"""Names of modules, the package left out, and what to do."""

COLLECTIONS: Final[dict[str, str]] = {
    **dict.fromkeys(
        [
            f"taskyard_dask.{name}"
            for name in ("client", "utils", "get_dask_client", "get_async_dask_client", "TaskyardDaskClient")
        ],
        reasons.DASK_CLIENT,
    ),
    **dict.fromkeys(["taskyard_ray.context", "taskyard_ray.remote_options"], reasons.RAY_OPTIONS),
    **dict.fromkeys(
        [
            f"taskyard_{name}"
            for name in (
                *(
                    "aws",
                    "azure",
                    "bitbucket",
                    "databricks",
                    "dbt",
                    "docker",
                    "email",
                    "gcp",
                    "github",
                    "gitlab",
                ),
                *("kubernetes", "redis", "shell", "slack", "snowflake", "sqlalchemy"),
            )
        ],
        reasons.PLUGINS,
    ),
}
"""Packages beside Prefect, or names in them, as they become when ``prefect`` is replaced everywhere."""

NAMES: Final[dict[str, str]] = {
    # 3
    **dict.fromkeys(["PrefectClient", "SyncPrefectClient"], reasons.OLD_CLIENT),
    "MaterializingTask": moved("taskyard.tasks"),
    "Block": moved("taskyard.blocks.core"),
    "PrefectFuture": here("Future"),
    # 2
    **dict.fromkeys(["Manifest", "Deployment"], reasons.DEPLOY),
    **dict.fromkeys(["get_cloud_client", "CloudClient"], reasons.CLOUD),
    "BaseResult": here("ResultRecord", "taskyard.results"),
    **dict.fromkeys(["SequentialTaskRunner", "ConcurrentTaskRunner"], moved("taskyard.task_runners")),
    **reasons.CLUSTER_RUNNERS,
    # 1
    **dict.fromkeys(["Parameter", "DateTimeParameter"], reasons.PARAMETER),
    "Client": reasons.OLD_CLIENT,
    **dict.fromkeys(["case", "resource_manager", "switch", "merge", "ifelse"], reasons.CONTROL_FLOW),
    **dict.fromkeys(["flatten", "mapped", "apply_map"], reasons.FLATTEN),
    **dict.fromkeys(["Edge", "Constant"], reasons.IMPERATIVE),
    **dict.fromkeys(["TaskRunner", "FlowRunner"], reasons.RUNNERS),
    "signals": reasons.SIGNALS,
    "config": reasons.SETTINGS,
}
"""Names that Prefect has in the package itself, or that its documentation imports from there."""
