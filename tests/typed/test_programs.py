"""What type checkers say of programs: nothing where a line says nothing, else the errors that it names.

A line that is wrong ends with a comment that names the kinds of errors, for each checker:
``# E: mypy(arg-type) pyright(reportArgumentType)``.
"""

import json
import re
import subprocess
import sys
from collections import defaultdict
from pathlib import Path

import pytest

PROGRAMS = Path(__file__).parent / "programs"
BIN = Path(sys.executable).parent
PYRIGHT = BIN / "basedpyright"
Errors = dict[str, set[str]]
"""Kinds of errors by ``file:line``."""

UNUSED = ("Variable", "Expression", "Coroutine", "CallResult")
UNKNOWN = ("MemberType", "VariableType", "ArgumentType", "ParameterType")


def expected(checker: str) -> Errors:
    found: Errors = {}
    for path in PROGRAMS.glob("*.py"):
        for number, line in enumerate(path.read_text().splitlines(), 1):
            said = re.search(rf"# E:.* {checker}\(([\w, -]+)\)", line)
            if said:
                found[f"{path.name}:{number}"] = set(said[1].split(", "))
    assert len(found) > 50
    return found


def differences(wanted: Errors, found: Errors, output: str) -> str:
    lines = [
        f"{where}: expected {sorted(wanted.get(where, ()))}, got {sorted(found.get(where, ()))}"
        for where in sorted(wanted.keys() | found.keys())
        if wanted.get(where) != found.get(where)
    ]
    return "\n".join([*lines, output]) if lines else ""


def test_mypy_says_of_programs_what_their_comments_say(tmp_path: Path) -> None:
    options = f"--strict --allow-untyped-decorators --python-version 3.11 --cache-dir {tmp_path}".split()
    command = [sys.executable, "-m", "mypy", "--config-file", "/dev/null", *options, str(PROGRAMS)]
    done = subprocess.run(command, capture_output=True, text=True)
    found: Errors = defaultdict(set)
    for line in done.stdout.splitlines():
        error = re.match(r".*?(\w+\.py):(\d+): error: .*\[([\w-]+)\]$", line)
        if error:
            found[f"{error[1]}:{error[2]}"].add(error[3])
    assert differences(expected("mypy"), found, done.stdout) == "", done.stderr


@pytest.mark.slow
def test_pyright_says_of_programs_what_their_comments_say(tmp_path: Path) -> None:
    """By basedpyright, which is pyright in a package of its own; in pyright's strict mode."""
    configuration = {
        "include": [str(PROGRAMS)],
        "typeCheckingMode": "strict",
        "pythonVersion": "3.11",
        # What programs are wrong in on purpose is one error, and not three.
        **{f"reportUnused{kind}": False for kind in UNUSED},
        **{f"reportUnknown{kind}": False for kind in UNKNOWN},
        "reportUntypedFunctionDecorator": False,
    }
    project = tmp_path / "pyrightconfig.json"
    project.write_text(json.dumps(configuration))
    command = [str(PYRIGHT), "--project", str(project), "--pythonpath", sys.executable, "--outputjson"]
    done = subprocess.run(command, capture_output=True, text=True)
    found: Errors = defaultdict(set)
    for error in json.loads(done.stdout)["generalDiagnostics"]:
        if error["severity"] == "error":
            where = f"{Path(error['file']).name}:{error['range']['start']['line'] + 1}"
            found[where].add(error["rule"])
    assert differences(expected("pyright"), found, done.stdout) == "", done.stderr
