"""The code of tasks inside a worker.

Invariant: code is loaded once per worker and digest; what cannot be loaded is an outcome of the run, never
an exception of the worker.
"""

from taskyard_agent.runner.blob_files import BlobFiles
from taskyard_agent.runner.reference_code import code_at
from taskyard_agent.runner.serving import registered
from taskyard_api.v1 import agent_service_pb2 as pb
from taskyard_api.v1 import template_pb2
from taskyard_contract import pickling
from taskyard_contract.assignments.refusals import unavailable
from taskyard_contract.blobs.names import sha256_name
from taskyard_contract.execution import Invocation, TaskCode, WorkerHost
from taskyard_contract.failures import failure_of, text_of, type_name
from taskyard_contract.world import inherited


class UnavailableCode:
    """Stands for code that could not be loaded: every run of it fails and says why."""

    def __init__(self, message: str, error: BaseException) -> None:
        """Write the failure once, for all runs that meet it."""
        self._message = message
        self._failure = failure_of(error, encoding="")

    def execute(self, invocation: Invocation, host: WorkerHost) -> pb.ReportException:
        """Report why the code could not be loaded."""
        report = unavailable(self._message)
        report.failure.CopyFrom(self._failure)
        return report


class CodeShelf:
    """The code this worker has loaded."""

    def __init__(self, blobs: BlobFiles) -> None:
        """Load from `blobs` what does not come with its template."""
        self._blobs = blobs
        self._by_key: dict[bytes | tuple[str, str, str], TaskCode] = {}

    def clear(self) -> None:
        """Forget all code; what is needed again is loaded again."""
        self._by_key.clear()

    def find(self, definition: template_pb2.TemplateDefinition) -> TaskCode:
        """Return what executes the runs of a template, loaded at the first one; never raises."""
        template = definition.template
        location = template.code.WhichOneof("location")
        key = template.code.blob_digest or (
            template.code.reference,
            template.code.task_name,
            template.encoding,
        )
        code = self._by_key.get(key)
        try:
            if code is not None:
                return _with_names(code)
            if location == "blob_digest":
                code = self._unpickle(definition)
            elif location == "reference":
                code = code_at(template.code.reference, template.encoding)
            elif location == "task_name":
                code = registered.code_of(template.code.task_name)
            else:
                raise LookupError("its template names no code that a Python worker could load")
        except BaseException as error:  # imports execute foreign code: it may call exit, for example
            # Not kept: an import may succeed later, when whatever it lacked is there.
            message = f"the code of task '{template.name}' could not be loaded: {_reason_of(error)}"
            return UnavailableCode(message, error)
        self._by_key[key] = code
        return code

    def _unpickle(self, definition: template_pb2.TemplateDefinition) -> TaskCode:
        digest = definition.template.code.blob_digest
        data = definition.code or self._blobs.fetched(sha256_name(digest))
        code: TaskCode = pickling.loads(data)
        if not callable(getattr(code, "execute", None)):
            raise TypeError(f"what was sent as code is a {type(code).__qualname__}, which executes nothing")
        return code


def _with_names(code: TaskCode) -> TaskCode:
    """Return code after `__main__` has what it was sent with: other code may have come with other values."""
    names = getattr(code, "main_names", None)
    if names is not None:
        names.bind()
    return code


def _reason_of(error: BaseException) -> str:
    # The text of an exit call is a number.
    text = text_of(error) if isinstance(error, Exception) else f"{type_name(error)}: {text_of(error)}"
    why = inherited.why_missing(error)
    return f"{text} ({why})" if why else text
