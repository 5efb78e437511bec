"""Each error of a store has a status of its own, and says which it is."""

from http import HTTPStatus

import pytest

from taskyard_contract import errors
from taskyard_controlplane.data_process.refusals import Refused


@pytest.mark.parametrize(
    ("error", "status"),
    [
        (errors.InvalidRequest("x"), 400),
        (errors.PermissionDenied("x"), 403),
        (errors.BlobNotFound("x"), 404),
        (errors.PayloadTooLarge("x"), 413),
        (errors.DigestMismatch("x"), 422),
        (errors.Overloaded("x"), 429),
        (errors.StorageUnavailable("x"), 503),
        (errors.StorageFull("x"), 507),
        (errors.TaskyardError("x"), 500),
    ],
)
def test_errors_have_their_status(error: errors.TaskyardError, status: int) -> None:
    refused = Refused(error)
    assert refused.status == status
    assert refused.headers() == {"Taskyard-Error": error.reason.name}


def test_when_to_come_back_is_said_in_whole_seconds() -> None:
    refused = Refused(errors.Overloaded("x", retry_after=0.2), HTTPStatus.CONFLICT)
    assert refused.status == 409
    assert refused.headers()["Retry-After"] == "1"
