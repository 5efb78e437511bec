"""What is said of more than one name. Each completes a sentence that has named what was asked for.

Three kinds, which readers can tell by their words: "not in this release" is meant to come; "not here, by
design" is not; everything else exists under another name, which is said.
"""

from typing import Final

DEPLOY: Final = (
    "deployments and schedules are not in this release; start the program itself, from cron"
    " or a service manager"
)
PAUSE: Final = "pausing, suspending and resuming runs is not in this release; a run can be cancelled"
RESULTS: Final = (
    "it is result_storage=... here, a path, a URL such as s3://bucket/prefix, a saved block of"
    " taskyard.filesystems, or an object with read_path and write_path, with result_serializer and"
    " result_storage_key; see taskyard.results"
)
SMB: Final = (
    "files of Windows shares are not in this release; mount the share, and use LocalFileSystem with the path"
)
OLD_CLIENT: Final = (
    "it is get_client() here, of taskyard.client.orchestration, with TaskyardClient and SyncTaskyardClient"
)
CLIENT_CHANGES: Final = (
    "runs are made by calling tasks and flows, so clients only read them, and cancel them: see"
    " taskyard.client.orchestration"
)
RECORDED_CHANGES: Final = "what is recorded of a run is not changed from outside, by design"
BLOCKS: Final = (
    "this kind of block is not in this release; make one of your own of taskyard.blocks.core.Block,"
    " or use taskyard.blocks.system.Secret"
)
KEPT: Final = (
    "clients read runs only; Block.load() and Variable.get() read what is kept, of taskyard.blocks.core and"
    " taskyard.variables, and 'taskyard block ls' and 'taskyard variable ls' list it"
)
EVENTS: Final = (
    "events and automations are not in this release; use hooks such as on_completion and on_failure"
)
LIMITS: Final = (
    "concurrency limits are not in this release; the slots of an agent, and a queue of its own, limit"
    " how much"
    " runs"
)
ASSETS: Final = "tasks that make assets are decorated with @materialize(...) here, of taskyard.assets"
ARTIFACTS: Final = (
    "runs make artifacts, by create_markdown_artifact() and others of taskyard.artifacts; clients read and"
    " delete them"
)
COLLECTIONS: Final = (
    "the newest artifact of a key is Artifact.get(key) here, of taskyard.artifacts, and 'taskyard artifact"
    " ls' lists those of all keys"
)
GRAPHS: Final = "flows are drawn: flow.visualize(); 'taskyard run show' has the dependencies of a run"
STATUS: Final = "give serve() a status_server_port; TaskWorker.status() returns what is answered there"
PARAMETERS: Final = "the control plane keeps the arguments of runs, and sends them along"
TESTING: Final = (
    "what Prefect tests itself with is not here; taskyard.testing.utilities has the harness for tests of"
    " flows, and docs/testing.md says how they are written"
)
ENGINES: Final = (
    "the classes of the engine are not here, by design; call the flow, or the task, itself, or"
    " taskyard.task_engine.run_task and taskyard.flow_engine.run_flow"
)

IMPERATIVE: Final = (
    "Prefect 1's graphs (with Flow(...), Parameter, triggers) are not in this release; write a function and"
    " decorate it with @flow: calls inside it are the graph"
)
PARAMETER: Final = (
    "Prefect 1's graphs are not in this release; parameters are those of the function that @flow decorates"
)
TASK_CLASS: Final = (
    "Prefect 1's Task classes with run() are not in this release; decorate a function,"
    " or a method, with @task"
)
CONTROL_FLOW: Final = (
    "Prefect 1's graphs are not in this release; write if, for and with in the function that @flow decorates"
)
TRIGGERS: Final = (
    "triggers are not in this release; a task waits for its arguments and for wait_for=[...] to complete, and"
    " allow_failure(...) around one of them lets it start after a failure as well"
)
SIGNALS: Final = (
    "signals are not in this release; raise an exception to fail, or return a state, as in"
    " return Completed(message=...) or Cancelled(...)"
)
SKIPPING: Final = (
    "skipping is not in this release; test in the flow whether to call the task, or return"
    " Completed(name='Skipped') from it"
)
RUNNERS: Final = (
    "Prefect 1's TaskRunner and FlowRunner are not in this release; call task.fn(...) to test the"
    " function, and"
    " flow(return_state=True) to see a state"
)
FLATTEN: Final = (
    "Prefect 1's mapping annotations are not in this release; task.map takes iterables apart,"
    " unmapped(...) keeps"
    " one whole, and a flow can flatten a list itself"
)
TASK_LIBRARY: Final = (
    "a library of tasks is not here, by design; decorate a function that calls the client you need"
)
RUN_CONTEXT: Final = (
    "Prefect 1's context is not here, by design; see taskyard.get_run_logger() for the logger, and"
    " taskyard.runtime.task_run and taskyard.runtime.flow_run for ids, names, parameters and run_count"
)
EXECUTORS: Final = (
    "executors are not here, by design; agents execute task runs, or threads do:"
    " @flow(task_runner=ThreadPoolTaskRunner(max_workers=4)), from taskyard.task_runners"
)
STORAGE: Final = (
    "registering flows with a storage is not here, by design; workers get the code of the program that runs"
)
INFRASTRUCTURE: Final = (
    "infrastructure blocks are not here, by design; start agents where the work is to be done:"
    " 'taskyard agent start --help'"
)
SERVER: Final = (
    "the server is a program of its own, with the gRPC services in protos/; start it with 'taskyard server"
    " start', and see taskyard.flow_runs and taskyard.task_runs for reading runs"
)
CLOUD: Final = "there is no cloud service, by design; start a server with 'taskyard server start'"
PLUGINS: Final = "plugins and collections are not here, by design; call the library you need from a task"
SETTINGS: Final = (
    "settings are environment variables here, such as TASKYARD_SERVER and TASKYARD_LOG_LEVEL, and those that"
    " there are have names such as TASKYARD_API_URL and tasks.default_retries: see taskyard.settings"
)
PROFILES: Final = (
    "profiles and .env files are not in this release; settings are environment variables here, see"
    " taskyard.settings, and taskyard.settings.temporary_settings has other ones in a block"
)
HELPERS: Final = (
    "internal helpers of Prefect are not here, by design; the standard library has what programs need"
)
NOTIFICATIONS: Final = (
    "notifications are not here, by design; send what you like from a hook: on_failure=[hook], called with"
    " task, run and state"
)
SOFTWARE: Final = (
    "images and environments are not built here, by design; agents run in what you start them in"
)

CLUSTER_RUNNERS: Final[dict[str, str]] = {
    "DaskTaskRunner": "it is in a package of its own: from taskyard_dask import DaskTaskRunner",
    "RayTaskRunner": "it is in a package of its own: from taskyard_ray import RayTaskRunner",
}
DISTRIBUTED: Final = (
    "agents on further machines are what executes runs there: 'taskyard agent start --server HOST:PORT', with"
    " the default AgentTaskRunner"
)
DASK_CLIENT: Final = (
    "tasks execute in processes of an agent beside the Dask worker, not in it; where one of them wants Dask"
    " itself it connects by distributed.Client(address)"
)
RAY_OPTIONS: Final = (
    "Ray sees the agents on its nodes, not the single runs; where tasks need something of their own, agents"
    " with labels have it: @task(agent_labels=...)"
)
OWN_RUNNERS: Final = (
    "it is TaskRunner here, of taskyard.task_runners; derive from ThreadPoolTaskRunner or another one that"
    " executes runs"
)
MAPPED_STATE: Final = "a map has no state of its own; task.map returns a list of futures, each with its state"


def here(name: str, module: str = "") -> str:
    """Say under which name something exists, and where."""
    return f"it is {name} here" + (f", of {module}" if module else "")


def moved(module: str) -> str:
    """Say that a name exists, in another module."""
    return f"it is in {module} here"
