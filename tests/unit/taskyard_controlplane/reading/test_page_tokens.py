"""Page tokens are opaque, versioned and belong to one listing."""

import base64
import struct

import pytest

from taskyard_api.v1.run_service_pb2 import RunFilter
from taskyard_contract.errors import InvalidRequest
from taskyard_controlplane.reading import watched
from taskyard_controlplane.reading.page_tokens import Listing, decode, encode, page_size
from taskyard_controlplane.reading.tokens import scope_of
from taskyard_controlplane.reading.watched import ResumePoint


@pytest.mark.parametrize("position", [0, 1, 41, 2**63 - 1])
def test_a_token_gives_its_position_back(position: int) -> None:
    assert decode(Listing.RUNS, encode(Listing.RUNS, position)) == position


def test_the_empty_token_is_the_first_page() -> None:
    assert decode(Listing.LOGS, "") is None


@pytest.mark.parametrize(
    "token",
    ["x", "!!!!", "AAAA", "not a token", "é", encode(Listing.RUNS, 7)[:-2], encode(Listing.RUNS, 7) + "AAAA"],
)
def test_garbage_is_an_invalid_request(token: str) -> None:
    with pytest.raises(InvalidRequest, match="page_token"):
        decode(Listing.RUNS, token)


def test_a_token_of_another_listing_is_refused() -> None:
    with pytest.raises(InvalidRequest):
        decode(Listing.RUNS, encode(Listing.AGENTS, 100))


def test_a_token_of_another_version_is_refused() -> None:
    later = base64.urlsafe_b64encode(struct.pack(">BB8sq", 3, Listing.RUNS, bytes(8), 7)).decode().rstrip("=")
    with pytest.raises(InvalidRequest):
        decode(Listing.RUNS, later)


def test_a_position_that_no_database_has_is_refused() -> None:
    packed = struct.pack(">BB8sQ", 2, Listing.RUNS, bytes(8), 2**63)
    with pytest.raises(InvalidRequest):
        decode(Listing.RUNS, base64.urlsafe_b64encode(packed).decode().rstrip("="))


def test_a_token_goes_with_the_request_it_was_issued_for() -> None:
    scopes = [scope_of(RunFilter(name_contains=name)) for name in ("a", "b")]
    token = encode(Listing.RUNS, 7, scopes[0])
    assert decode(Listing.RUNS, token, scopes[0]) == 7
    for scope in (scopes[1], scope_of(b"run")):
        with pytest.raises(InvalidRequest, match="another request"):
            decode(Listing.RUNS, token, scope)


def test_a_token_of_megabytes_is_refused_unread() -> None:
    with pytest.raises(InvalidRequest):
        decode(Listing.RUNS, "A" * 10_000_000)


@pytest.mark.parametrize(("wanted", "size"), [(0, 100), (7, 7), (5_000, 1_000)])
def test_page_size_is_what_was_asked_for_within_bounds(wanted: int, size: int) -> None:
    assert page_size(wanted, 100, 1_000) == size


def test_tokens_of_this_version_are_read_by_the_next_server() -> None:
    """Clients hold them over an update: who changes their form, or what they mean, gives it a new version."""
    assert encode(Listing.RUNS, 5, scope_of(b"run")) == "AgGsuiVRIQD4CwAAAAAAAAAF"
    assert watched.encode(ResumePoint(1, 2, 3), scope_of(b"run")) == (
        "AVesuiVRIQD4CwAAAAAAAAABAAAAAAAAAAIAAAAAAAAAAw"
    )
