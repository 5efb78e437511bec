"""Code that cannot be loaded is an outcome of its runs, whatever loading it does."""

import pickle
from pathlib import Path

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
