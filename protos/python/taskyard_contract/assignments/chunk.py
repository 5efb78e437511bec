"""A chunk as its worker sees it: one `Invocation` per position.

Invariant: what most runs have comes from columns at the price of an index; what few have is looked up only
in chunks that have any of it.
"""

from taskyard_api.v1 import agent_service_pb2 as pb
from taskyard_api.v1 import common_pb2, template_pb2
from taskyard_contract.assignments.inputs import BlobReader, Inputs, check_encoding
from taskyard_contract.assignments.many_inputs import ManyInputs
from taskyard_contract.assignments.refusals import unavailable
from taskyard_contract.execution import Invocation
from taskyard_contract.failures import text_of
from taskyard_contract.ids import ID_BYTES
from taskyard_contract.values.bodies import split_head


class Chunk:
    """Runs of one template and one flow run."""

    def __init__(
        self,
        first_epoch: int,
        ids: bytes,
        template: template_pb2.RunTemplate,
        body: pb.ChunkBody,
        blobs: BlobReader,
        inputs: Inputs | None = None,
    ) -> None:
        """Open the columns of `body`; run i has epoch ``first_epoch + i``. `inputs` are those not in it."""
        self.template = template
        self._first_epoch = first_epoch
        self._ids = ids
        self._args = list(body.args)
        self._ordinals = list(body.ordinals)
        self._flow_run_id = body.flow_run_id
        self._flow_run_name = body.flow_run_name
        self._blobs = blobs
        self._extras = {extra.position: extra for extra in body.extras}
        self._encoding = template.encoding
        self.plain = not (body.extras or body.input_positions or inputs is not None)
        """Whether `complete` has nothing to add to any run."""
        self._inputs = inputs or Inputs(body, self._encoding, blobs)

    @classmethod
    def of_file(
        cls,
        first_epoch: int,
        ids: bytes,
        template: template_pb2.RunTemplate,
        ref: common_pb2.BlobRef,
        blobs: BlobReader,
    ) -> "Chunk":
        """Open the columns of a file, which has one run.

        Raises:
            BlobNotFound, DigestMismatch, OSError: As `BlobReader.read`.
            ValueError: It is no body of a chunk.
        """
        data = blobs.read(ref)
        body, start = split_head(data)
        return cls(first_epoch, ids, template, body, blobs, ManyInputs(data, start, template.encoding, blobs))

    def run_id(self, position: int) -> bytes:
        """Return the id of the run at a position."""
        return self._ids[position * ID_BYTES : position * ID_BYTES + ID_BYTES]

    def epoch(self, position: int) -> int:
        """Return the epoch of the run at a position."""
        return self._first_epoch + position

    def invocation(self, position: int) -> Invocation:
        """Return the run at a position, as far as columns describe it."""
        return Invocation(
            self._ids[position * ID_BYTES : position * ID_BYTES + ID_BYTES],
            self._first_epoch + position,
            self.template,
            self._args[position],
            flow_run_id=self._flow_run_id,
            flow_run_name=self._flow_run_name,
            ordinal=self._ordinals[position],
            encoding=self._encoding,
        )

    def complete(self, invocation: Invocation, position: int) -> pb.ReportException | None:
        """Add the rare properties and the inputs of a run; returns what to report when that failed."""
        extra = self._extras.get(position)
        try:
            if extra is not None:
                self._add(invocation, extra)
            invocation.inputs = self._inputs.of(position)
        except Exception as error:
            what = f"the inputs of {invocation.run_name} could not be loaded"
            return unavailable(f"{what}: {type(error).__qualname__}: {text_of(error)}", error, self._encoding)
        return None

    def _add(self, invocation: Invocation, extra: pb.AttemptExtra) -> None:
        invocation.attempt = extra.attempt or 1
        invocation.cache_key_decided = extra.cache_key_decided
        invocation.cache_key = extra.cache_key
        invocation.name = extra.name
        invocation.parent_run_id = extra.caller_run_id
        invocation.extra = extra
        if extra.HasField("args"):
            invocation.args = self._blobs.read(extra.args)
        elif extra.HasField("payload"):
            payload = extra.payload
            encoding = payload.encoding or self._encoding
            invocation.encoding = check_encoding("the payload of its arguments", encoding, self._encoding)
            invocation.args = self._blobs.payload(payload)
