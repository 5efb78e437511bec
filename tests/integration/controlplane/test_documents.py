"""DocumentService: small documents, changed by whoever has seen them, and what is secret in them."""

import base64
import sqlite3
from collections.abc import Callable
from contextlib import ExitStack, closing
from pathlib import Path
from typing import Any

import grpc
import pytest

from taskyard_api.v1 import document_service_pb2 as pb
from taskyard_contract.errors import (
    DocumentNotFound,
    DocumentTooLarge,
    InvalidRequest,
    NamespaceNotFound,
    SecretUnreadable,
    TaskyardError,
    VersionConflict,
)
from taskyard_contract.transport.rpc_errors import from_rpc_error
from taskyard_controlplane.sealing.keys import KeyRing

KEYS = [base64.b64encode(bytes([number]) * 32).decode() for number in range(4)]


def put(
    served: Any, name: str, version: int = 0, body: bytes = b"1", kind: str = "variable", **more: Any
) -> int:
    request = pb.PutDocumentRequest(kind=kind, name=name, version=version, body=body, **more)
    return int(served.documents.PutDocument(request, timeout=10).version)


def get(served: Any, name: str, kind: str = "variable", **more: Any) -> pb.Document:
    request = pb.GetDocumentRequest(kind=kind, name=name, **more)
    document = served.documents.GetDocument(request, timeout=10).document
    assert isinstance(document, pb.Document)
    return document


def delete(served: Any, name: str, version: int) -> None:
    request = pb.DeleteDocumentRequest(kind="variable", name=name, version=version)
    served.documents.DeleteDocument(request, timeout=10)


def pages(served: Any, **fields: Any) -> list[list[pb.Document]]:
    found, token = list[list[pb.Document]](), ""
    while True:
        request = pb.ListDocumentsRequest(**{"kind": "variable", **fields}, page_token=token)
        page = served.documents.ListDocuments(request, timeout=10)
        found.append(list(page.documents))
        token = page.next_page_token
        if not token:
            return found


def refused(call: Callable[[], object]) -> TaskyardError:
    with pytest.raises(grpc.RpcError) as caught:
        call()
    return from_rpc_error(caught.value)  # type: ignore[arg-type]


def test_a_document_is_read_as_it_was_put(on_either: Any) -> None:
    version = put(on_either, "näme/of it", body=bytes(range(256)))
    found = get(on_either, "näme/of it")
    assert (found.kind, found.name, found.version, found.body) == (
        "variable", "näme/of it", version, bytes(range(256)),
    )  # fmt: skip
    assert not found.has_secret
    assert found.updated_us > 0


def test_a_change_needs_the_version_it_changes(on_either: Any) -> None:
    first = put(on_either, "a")
    error = refused(lambda: put(on_either, "a"))
    assert isinstance(error, VersionConflict)
    assert "the variable 'a' exists already" in str(error)
    second = put(on_either, "a", first, b"2")
    assert second > first
    assert isinstance(refused(lambda: put(on_either, "a", first, b"3")), VersionConflict)
    assert isinstance(refused(lambda: put(on_either, "b", 17)), VersionConflict)
    assert isinstance(refused(lambda: put(on_either, "a", 2**64 - 1)), VersionConflict)
    assert get(on_either, "a").body == b"2"


def test_a_deletion_needs_the_version_it_deletes(on_either: Any) -> None:
    first = put(on_either, "a")
    second = put(on_either, "a", first, b"2")
    assert isinstance(refused(lambda: delete(on_either, "a", first)), VersionConflict)
    delete(on_either, "a", second)
    delete(on_either, "a", second)
    assert isinstance(refused(lambda: get(on_either, "a")), DocumentNotFound)
    assert put(on_either, "a") > second


def test_a_call_whose_answer_was_lost_is_repeated(served: Any) -> None:
    mine, other = bytes(range(16)), bytes(range(1, 17))
    version = put(served, "a", change_id=mine, secret=b"x")
    assert put(served, "a", change_id=mine, secret=b"x") == version
    assert isinstance(refused(lambda: put(served, "a", change_id=other, secret=b"x")), VersionConflict)
    assert isinstance(refused(lambda: put(served, "a", secret=b"x")), VersionConflict)
    changed = put(served, "a", version, b"2", change_id=other)
    # It is not the one that is there any more, so who repeats it has to know.
    assert isinstance(refused(lambda: put(served, "a", change_id=mine, secret=b"x")), VersionConflict)
    assert get(served, "a").version == changed


def test_documents_are_listed_by_kind_and_prefix_in_pages(on_either: Any) -> None:
    names = ["a/1", "a/2", "a/20", "a/3", "b/1", "ä/1"]
    for name in reversed(names):
        put(on_either, name, secret=b"") if name != "b/1" else put(on_either, name, kind="block")
    put(on_either, "b/1")
    found = pages(on_either, page_size=4)
    assert [[each.name for each in page] for page in found] == [names[:4], names[4:]]
    assert [each.name for page in pages(on_either, prefix="a/2") for each in page] == ["a/2", "a/20"]
    assert [each.name for page in pages(on_either, kind="block") for each in page] == ["b/1"]
    assert pages(on_either, prefix="nothing") == [[]]
    assert pages(on_either, prefix="a/", page_size=4) == [found[0]]  # no empty page at the end


def test_pages_are_cut_where_they_are_large(served: Any) -> None:
    for number in range(5):
        put(served, f"{number}", body=bytes(400_000))
    assert [[each.name for each in page] for page in pages(served)] == [["0", "1", "2"], ["3", "4"]]


def test_a_page_token_belongs_to_what_was_asked_for(served: Any) -> None:
    put(served, "a")
    put(served, "b")
    request = pb.ListDocumentsRequest(kind="variable", page_size=1)
    token = served.documents.ListDocuments(request, timeout=10).next_page_token
    for fields in ({"kind": "block"}, {"kind": "variable", "prefix": "a"}):
        other = pb.ListDocumentsRequest(page_token=token, **fields)
        error = refused(lambda other=other: served.documents.ListDocuments(other, timeout=10))
        assert isinstance(error, InvalidRequest)
        assert error.field == "page_token"


@pytest.mark.parametrize("kind", ["", "Variable", "1a", "a b", "a" * 65, "a/b", "a\n"])
def test_a_kind_has_a_form(served: Any, kind: str) -> None:
    for call in (
        lambda: put(served, "a", kind=kind),
        lambda: get(served, "a", kind),
        lambda: pages(served, kind=kind),
    ):
        error = refused(call)
        assert isinstance(error, InvalidRequest)
        assert error.field == "kind"


@pytest.mark.parametrize("name", ["", "a" * 513, "a\0b"])
def test_a_name_has_a_form(served: Any, name: str) -> None:
    assert isinstance(refused(lambda: put(served, name)), InvalidRequest)


def test_what_is_too_large_is_refused_with_the_limit(served: Any) -> None:
    error = refused(lambda: put(served, "a", body=bytes(500_000), secret=bytes(24_289)))
    assert isinstance(error, DocumentTooLarge)
    assert error.limit == 512 * 1024
    put(served, "a", body=bytes(500_000), secret=bytes(24_288))


def test_other_fields_are_checked(served: Any) -> None:
    assert isinstance(refused(lambda: put(served, "a", change_id=b"short")), InvalidRequest)
    assert isinstance(refused(lambda: delete(served, "a", 0)), InvalidRequest)
    assert isinstance(refused(lambda: put(served, "a", namespace="other")), NamespaceNotFound)
    put(served, "a", namespace="default")
    assert get(served, "a").body == b"1"


def test_programs_do_not_reach_what_the_control_plane_keeps(served: Any, run_on_loop: Any) -> None:
    run_on_loop(served.plane.owner.documents.put("limit", "default/a", 0, b"mine"))
    assert isinstance(refused(lambda: get(served, "a", "limit")), DocumentNotFound)
    put(served, "a", kind="limit")
    assert pages(served, kind="limit")[0][0].body == b"1"


# --- secrets ---


def test_a_secret_is_told_only_to_who_asks_for_it(served: Any) -> None:
    put(served, "a", secret=b"hunter2")
    found = get(served, "a")
    assert found.has_secret
    assert found.secret == b""
    assert get(served, "a", include_secret=True).secret == b"hunter2"
    [[listed]] = pages(served)
    assert listed.has_secret
    assert listed.secret == b""
    version = put(served, "a", found.version)
    assert not get(served, "a", include_secret=True).has_secret
    assert version > found.version


def test_neither_database_nor_log_has_a_secret_or_a_key(serve: Any, tmp_path: Path) -> None:
    served = serve()
    put(served, "a", body=b"plain words", secret=b"hunter2hunter2")
    key = (tmp_path / "secret.key").read_text().strip()
    raw = base64.b64decode(key)
    served.stop()
    files = [path for path in tmp_path.rglob("*") if path.is_file() and path.name != "secret.key"]
    content = b"".join(path.read_bytes() for path in files)
    assert b"plain words" in content
    for hidden in (b"hunter2", base64.b64encode(b"hunter2hunter2"), raw, key.encode()):
        assert hidden not in content


def test_a_secret_outlives_the_server(serve: Any) -> None:
    first = serve()
    put(first, "a", secret=b"hunter2")
    first.stop()
    assert get(serve(), "a", include_secret=True).secret == b"hunter2"


def test_a_key_that_does_not_fit_is_refused_when_a_secret_is_read(serve: Any) -> None:
    first = serve(more={"keys": KeyRing(KEYS[1])})
    version = put(first, "a", body=b"plain", secret=b"hunter2")
    first.stop()
    second = serve(more={"keys": KeyRing(KEYS[2])})
    error = refused(lambda: get(second, "a", include_secret=True))
    assert isinstance(error, SecretUnreadable)
    assert "this was encrypted with the key" in str(error)
    assert get(second, "a").body == b"plain"
    put(second, "a", version, secret=b"hunter3")
    assert get(second, "a", include_secret=True).secret == b"hunter3"


def test_keys_are_rotated_newest_first(serve: Any) -> None:
    first = serve(more={"keys": KeyRing(KEYS[1])})
    version = put(first, "a", secret=b"old")
    first.stop()
    both = serve(more={"keys": KeyRing(f"{KEYS[2]},{KEYS[1]}")})
    assert get(both, "a", include_secret=True).secret == b"old"
    put(both, "a", version, secret=b"old")
    both.stop()
    assert get(serve(more={"keys": KeyRing(KEYS[2])}), "a", include_secret=True).secret == b"old"


def test_a_file_of_keys_is_read_again(serve: Any, tmp_path: Path) -> None:
    path = tmp_path / "keys"
    path.write_text(KEYS[1])
    served = serve(more={"keys": KeyRing(path=path)})
    put(served, "a", secret=b"x")
    path.write_text(f"{KEYS[2]}\n{KEYS[1]}\n")
    put(served, "b", secret=b"y")
    path.write_text(KEYS[2])
    assert get(served, "b", include_secret=True).secret == b"y"
    assert isinstance(refused(lambda: get(served, "a", include_secret=True)), SecretUnreadable)


@pytest.mark.postgresql
def test_without_keys_postgresql_has_no_secrets_and_everything_else(
    serve: Any, request: pytest.FixtureRequest
) -> None:
    with ExitStack() as stack:
        url = stack.enter_context(request.getfixturevalue("postgres").database())
        served = serve(database=url)
        put(served, "a")
        error = refused(lambda: put(served, "b", secret=b"hunter2"))
        assert isinstance(error, SecretUnreadable)
        assert "--secret-key-file" in str(error)
        served.stop()
        served = serve(database=url, more={"keys": KeyRing(KEYS[1])})
        put(served, "b", secret=b"hunter2")
        assert get(served, "b", include_secret=True).secret == b"hunter2"
        served.stop()


def test_a_secret_moved_in_the_database_does_not_open(serve: Any, tmp_path: Path) -> None:
    served = serve()
    put(served, "a", secret=b"hunter2")
    put(served, "b", secret=b"x")
    served.stop()
    with closing(sqlite3.connect(tmp_path / "runs.db")) as connection, connection:
        connection.execute(
            "UPDATE document SET body = (SELECT body FROM document WHERE name = 'default/a')"
            " WHERE name = 'default/b'"
        )
    served = serve()
    assert isinstance(refused(lambda: get(served, "b", include_secret=True)), SecretUnreadable)
    assert get(served, "a", include_secret=True).secret == b"hunter2"
