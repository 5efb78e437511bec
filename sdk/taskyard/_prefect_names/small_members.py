"""Names of the modules that programs import single things from: errors, types, loggers and formatters."""

from typing import Final

from taskyard._prefect_names import reasons
from taskyard._prefect_names.reasons import here

EXCEPTIONS: Final = {
    **dict.fromkeys(["PrefectException", "PrefectError"], here("TaskyardException")),
    **dict.fromkeys(
        ["PrefectHTTPStatusError", "ClientError"], here("TaskyardError", "any request that failed")
    ),
    **dict.fromkeys(["AuthorizationError"], here("TaskyardError")),
    "TaskTimeoutSignal": here("TaskRunTimeoutError"),
    "TaskTimeoutError": here("TaskRunTimeoutError"),
    "RollBack": "raise any exception inside of the transaction, or call txn.rollback()",
    **dict.fromkeys(["Pause", "Abort"], reasons.PAUSE),
    "PrefectSignal": here("TaskyardSignal"),
    "VersionLockMismatchSignal": reasons.SIGNALS,
    **dict.fromkeys(["MissingProfileError", "ProfileSettingsValidationError"], reasons.PROFILES),
    "ValidationError": "it is in pydantic; parameters that do not have their types raise ParameterTypeError",
    **dict.fromkeys(
        ["InfrastructureError", "InfrastructureNotFound", "InfrastructureNotAvailable"],
        reasons.INFRASTRUCTURE,
    ),
    "InvalidRepositoryURLError": reasons.STORAGE,
    "PrefectImportError": "it is ImportError here",
    **dict.fromkeys(
        ["ObjectLimitReached", "ObjectUnsupported"],
        "nothing here is limited in number, or needs a subscription; StorageFull is raised when disks are"
        " full",
    ),
    "BlockMissingCapabilities": "a block without a method raises AttributeError, as all objects do",
    "ProtectedBlockError": "no block is protected: every one that is stored can be deleted",
    "EventTooLarge": reasons.EVENTS,
    "exception_traceback": "traceback.format_exception(error) of the standard library does it",
}

TYPES: Final = {
    **dict.fromkeys(["NonNegativeDuration", "PositiveDuration"], here("Duration")),
    **dict.fromkeys(
        ["MAX_VARIABLE_NAME_LENGTH", "MAX_VARIABLE_VALUE_LENGTH"],
        "taskyard.variables.Variable.set() says what is too long",
    ),
    "BlockDocumentName": "Block.save(name) of taskyard.blocks.core checks names",
    "VariableValue": here("StrictVariableValue"),
    "KeyValueLabelsField": here("KeyValueLabels"),
    "TaskRetryDelaySeconds": "it is a number, or a list of numbers, as retry_delay_seconds=... takes them",
    "LaxUrl": "it is in pydantic, with other words: AnyUrl",
    "ClientRetryExtraCodes": reasons.SETTINGS,
    **dict.fromkeys(
        [
            *("WorkPoolConcurrencyLimit", "WorkQueueName", "WorkPoolName"),
            *("check_variable_value", "cast_none_to_empty_dict", "convert_none_to_empty_dict"),
            *("parse_retry_delay_input", "validate_set_T_from_delim_string", "KeyValueLabel"),
        ],
        reasons.HELPERS,
    ),
}

_PRINTS: Final = "log_prints=True makes run logs of what is printed"
_CLASSES: Final = "get_run_logger() returns a logging.LoggerAdapter of the standard library: name that"
LOGGING: Final = {
    "PrefectLogAdapter": _CLASSES,
    **dict.fromkeys(["LogEavesdropper", "patch_print", "print_as_log"], _PRINTS),
    "setup_logging": here("configure()"),
    "disable_logger": "logging.getLogger(name).disabled = True does it, of the standard library",
    "get_worker_logger": reasons.INFRASTRUCTURE,
}
FORMATTERS: Final = dict.fromkeys(
    ["PrefectFormatter", "JsonFormatter"],
    "put a handler with a formatter of your own on logging.getLogger('taskyard'); Taskyard adds none then",
)
BLOCKS: Final = dict.fromkeys(
    [
        *("BlockNotSavedError", "BlockSchema"),
        *("register_base_type", "block_schema_to_key", "schema_extra"),
    ],
    "a block is a class derived from Block, with save() and load(); there is nothing else to it here",
)
RUNTIME: Final = {
    "root_flow_run_id": "parent_flow_run_id is here; 'taskyard run show' has the runs around a run",
    **dict.fromkeys(["api_url", "ui_url"], "there are no pages of runs; 'taskyard run show ID' shows one"),
    "labels": "runs have no labels here; tags and headers are put on them by taskyard.tags and headers",
}
