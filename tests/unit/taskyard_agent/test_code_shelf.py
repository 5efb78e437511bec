"""Code that cannot be loaded is an outcome of its runs, whatever loading it does."""

import pickle
from pathlib import Path
from typing import Any

import pytest
from support.task_codes import COMMANDS, Exiting, Speechless, Unloadable

from taskyard_agent.runner.blob_files import BlobFiles
from taskyard_agent.runner.code_shelf import CodeShelf, UnavailableCode
from taskyard_api.v1 import agent_service_pb2 as pb
from taskyard_api.v1 import template_pb2
from taskyard_contract.execution import Invocation
from taskyard_contract.states import StateReason


def definition(code: bytes) -> template_pb2.TemplateDefinition:
    made = template_pb2.TemplateDefinition(code=code)
    made.template.name = "t"
    made.template.code.blob_digest = b"d" * 32
    return made


@pytest.mark.parametrize(
    ("code", "text"),
    [
        (Unloadable(), "needs a library that is not here"),
        (Exiting(), "SystemExit: 3"),
        (Speechless(), "NoText"),
        ("no code", "str, which executes nothing"),
    ],
    ids=["refuses", "exits", "has no text", "is no code"],
)
def test_runs_of_code_that_cannot_be_loaded_fail_and_say_why(tmp_path: Path, code: object, text: str) -> None:
    found = CodeShelf(BlobFiles(tmp_path)).find(definition(pickle.dumps(code)))
    assert isinstance(found, UnavailableCode)
    template = template_pb2.RunTemplate(name="t")
    report = found.execute(Invocation(b"r" * 16, 1, template, b""), None)  # type: ignore[arg-type]
    assert (report.kind, report.reason) == (pb.REPORT_KIND_FAILED, StateReason.CODE_UNAVAILABLE)
    assert text in report.message


def test_code_is_loaded_once(tmp_path: Path) -> None:
    shelf = CodeShelf(BlobFiles(tmp_path))
    code = shelf.find(definition(COMMANDS))
    assert shelf.find(definition(COMMANDS)) is code
    shelf.clear()
    assert shelf.find(definition(COMMANDS)) is not code


def of_name(**code: str) -> template_pb2.TemplateDefinition:
    made = template_pb2.TemplateDefinition()
    made.template.name, made.template.encoding = "t", "json/plain"
    for field, value in code.items():
        setattr(made.template.code, field, value)
    return made


def report_of(path: Path, definition: template_pb2.TemplateDefinition, args: bytes = b"") -> Any:
    code = CodeShelf(BlobFiles(path)).find(definition)
    return code.execute(Invocation(b"r" * 16, 1, definition.template, args), None)  # type: ignore[arg-type]


def test_a_name_that_nobody_has_registered_says_what_is_served(tmp_path: Path) -> None:
    report = report_of(tmp_path, of_name(task_name="go.sum"))
    assert report.reason == StateReason.CODE_UNAVAILABLE
    assert "this agent serves no task of the name 'go.sum'; it serves none; see" in report.message


def test_a_bare_function_by_reference_returns_json_or_is_refused(tmp_path: Path) -> None:
    add = of_name(reference="support.task_codes:add")
    assert report_of(tmp_path, add, b'{"args":[1],"kwargs":{"right":2}}') == b"3"
    identity = of_name(reference="copy:copy")
    assert report_of(tmp_path, identity, b'{"args":[[1,"x"]]}') == b'[1,"x"]'
    refused = report_of(tmp_path, of_name(reference="builtins:set"), b'{"args":[[1]]}')
    assert (refused.reason, refused.not_retriable) == (StateReason.RESULT_REFUSED, True)
    assert "JSON cannot hold: result: a set has no form in JSON" in refused.message
    unread = report_of(tmp_path, add, b"[1]")
    assert unread.reason == StateReason.CODE_UNAVAILABLE


def test_results_may_have_another_encoding_than_arguments(tmp_path: Path) -> None:
    definition = of_name(reference="builtins:bytes")
    definition.template.result_encoding = "binary/plain"
    assert report_of(tmp_path, definition, b'{"args":[[1,2]]}') == b"\x01\x02"
    definition.template.code.reference = "taskyard_api.v1.common_pb2:BlobRef"
    definition.template.result_encoding = "binary/protobuf"
    report = report_of(tmp_path, definition, b'{"kwargs":{"size":3}}')
    assert report.kind == pb.REPORT_KIND_SUCCEEDED
    assert report.result.type == "taskyard_api.v1.BlobRef"
