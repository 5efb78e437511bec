"""How an error is told by HTTP, so that a client raises the same one. Pure.

The status is for whoever knows HTTP only; the header `Taskyard-Error` has the reason of the contract, as
``STORAGE_FULL``, and the body is its text.
"""

import math
from collections.abc import Mapping
from http import HTTPStatus
from typing import Final

from taskyard_contract.errors import ErrorReason, TaskyardError

ERROR_HEADER: Final = "Taskyard-Error"

_STATUS: Final[Mapping[ErrorReason, HTTPStatus]] = {
    ErrorReason.INVALID_REQUEST: HTTPStatus.BAD_REQUEST,
    ErrorReason.PERMISSION_DENIED: HTTPStatus.FORBIDDEN,
    ErrorReason.BLOB_NOT_FOUND: HTTPStatus.NOT_FOUND,
    ErrorReason.PAYLOAD_TOO_LARGE: HTTPStatus.REQUEST_ENTITY_TOO_LARGE,
    ErrorReason.DIGEST_MISMATCH: HTTPStatus.UNPROCESSABLE_ENTITY,
    ErrorReason.OVERLOADED: HTTPStatus.TOO_MANY_REQUESTS,
    ErrorReason.STORAGE_UNAVAILABLE: HTTPStatus.SERVICE_UNAVAILABLE,
    ErrorReason.STORAGE_FULL: HTTPStatus.INSUFFICIENT_STORAGE,
}


class Refused(Exception):
    """A request ends with an error; `status` is what HTTP calls it."""

    def __init__(self, error: TaskyardError, status: HTTPStatus | None = None) -> None:
        """Refuse with an error, by the status that belongs to its reason if nothing is said."""
        super().__init__(str(error))
        self.error = error
        self.status = status or _STATUS.get(error.reason, HTTPStatus.INTERNAL_SERVER_ERROR)

    def headers(self) -> dict[str, str]:
        """Return what says which error it is, and when to come back."""
        headers = {ERROR_HEADER: self.error.reason.name}
        if self.error.retry_after:
            headers["Retry-After"] = str(math.ceil(self.error.retry_after))
        return headers
