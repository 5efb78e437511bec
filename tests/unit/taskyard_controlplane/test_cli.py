"""The command line: options become settings, errors become documented exit codes."""

import base64
import subprocess
import sys
from pathlib import Path

import pytest

from taskyard_contract.errors import NotOwner, StorageUnavailable
from taskyard_controlplane.cli import ExitCode, _parser, exit_code_of, main, serve_settings, yard_settings
from taskyard_controlplane.rpc.addresses import AddressInUse
from taskyard_controlplane.settings import InvalidSettings
from taskyard_controlplane.storage.errors import DatabaseInUse, SchemaNotUnderstood
from taskyard_controlplane.yard import YardInUse

KEY = base64.b64encode(bytes(range(64, 96))).decode()
OTHER_KEY = base64.b64encode(bytes(range(96, 128))).decode()


def test_serve_options_become_settings() -> None:
    where = ["--listen", "0.0.0.0:1", "--http", "0.0.0.0:2", "--database", "sqlite://"]
    options = _parser().parse_args(["serve", *where, "--agent-lease", "2", "--session-lease", "3"])
    settings = serve_settings(options)
    assert (settings.rpc.listen, settings.probe.listen) == ("0.0.0.0:1", "0.0.0.0:2")
    assert (settings.lease.agent_lease_seconds, settings.lease.session_lease_seconds) == (2, 3)
    assert settings.retry_delay_factor == 1
    options = _parser().parse_args(["serve", *where, "--retry-delay-factor", "0.5"])
    assert serve_settings(options).retry_delay_factor == 0.5


def test_the_database_may_come_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TASKYARD_DATABASE", "sqlite:///there.db")
    assert serve_settings(_parser().parse_args(["serve"])).database.url == "sqlite:///there.db"


def test_the_place_of_blobs_may_come_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TASKYARD_BLOBS", "s3://bucket/there")
    serve = ["serve", "--database", "sqlite://"]
    assert serve_settings(_parser().parse_args(serve)).blobs == "s3://bucket/there"
    assert serve_settings(_parser().parse_args([*serve, "--blobs", "/data"])).blobs == "/data"
    monkeypatch.delenv("TASKYARD_BLOBS")
    assert serve_settings(_parser().parse_args(serve)).blobs == ""


def test_where_data_goes_may_come_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    serve = ["serve", "--database", "sqlite://"]
    monkeypatch.setenv("TASKYARD_DATA_LISTEN", "0.0.0.0:4702")
    assert serve_settings(_parser().parse_args(serve)).data_address == "0.0.0.0:4702"
    assert serve_settings(_parser().parse_args([*serve, "--data-listen", "none"])).data_address == ""
    monkeypatch.delenv("TASKYARD_DATA_LISTEN")
    assert serve_settings(_parser().parse_args(serve)).data_address == "127.0.0.1:0"
    with pytest.raises(InvalidSettings, match="HOST:PORT, or none"):
        serve_settings(_parser().parse_args([*serve, "--data-listen", "nowhere"]))


def test_serve_without_a_database_is_a_usage_error(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.delenv("TASKYARD_DATABASE", raising=False)
    assert main(["serve"]) == ExitCode.USAGE
    assert "--database" in capsys.readouterr().err


def test_yard_options_become_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TASKYARD_HOME", "/tmp/yard")
    settings = yard_settings(_parser().parse_args(["yard", "--slots", "3", "--idle-seconds", "1.5"]))
    assert (settings.home, settings.slots, settings.idle_seconds) == (Path("/tmp/yard"), 3, 1.5)


NO_HOME = "~no-such-user/yard"


def test_a_server_with_a_database_needs_no_home_directory(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TASKYARD_HOME", NO_HOME)
    assert (
        serve_settings(_parser().parse_args(["serve", "--database", "sqlite://"])).database.url == "sqlite://"
    )


@pytest.mark.parametrize("options", [[], ["--home", NO_HOME]])
def test_a_yard_without_a_home_directory_is_a_usage_error(
    options: list[str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("TASKYARD_HOME", NO_HOME)
    assert main(["yard", *options]) == ExitCode.USAGE
    assert f"'{NO_HOME}' means nothing" in capsys.readouterr().err


def test_a_home_that_cannot_be_made_is_a_usage_error(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "file").touch()
    assert main(["yard", "--home", str(tmp_path / "file" / "yard")]) == ExitCode.USAGE
    assert "cannot be made (Not a directory); set TASKYARD_HOME" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "absent", "extra"),
    [
        (["yard", "--home", "home"], "sqlalchemy", "server"),
        (["serve", "--database", "sqlite:///home/t.db"], "grpc_health", "server"),
        (["serve", "--database", "postgresql://nobody@nowhere/t"], "psycopg", "postgres"),
        (["serve", "--database", "sqlite:///home/t.db", "--blobs", "s3://bucket"], "obstore", "objects"),
    ],
)
def test_a_missing_extra_is_one_line_before_anything_is_made(
    arguments: list[str],
    absent: str,
    extra: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setitem(sys.modules, absent, None)
    assert main(arguments) == ExitCode.USAGE
    (line,) = capsys.readouterr().err.splitlines()
    assert f"needs {absent}, which is not installed; " in line
    assert line.endswith(f"pip install 'taskyard[{extra}]', or in a checkout of it: pip install '.[{extra}]'")
    assert not list(tmp_path.iterdir())


def test_an_unknown_command_is_a_usage_error() -> None:
    with pytest.raises(SystemExit) as caught:
        main(["serf"])
    assert caught.value.code == ExitCode.USAGE


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (InvalidSettings("x"), 2),
        (AddressInUse("x"), 3),
        (DatabaseInUse("x"), 4),
        (YardInUse("x"), 4),
        (SchemaNotUnderstood("x"), 5),
        (StorageUnavailable("x"), 5),
        (NotOwner("x"), 6),
        (RuntimeError("x"), 1),
    ],
)
def test_every_error_has_its_documented_exit_code(error: Exception, code: int) -> None:
    assert exit_code_of(error) == code


def test_the_command_line_imports_nothing_heavy() -> None:
    """The yard starts its agent before it imports gRPC, so that both import at the same time."""
    script = (
        "import sys, taskyard_controlplane.cli, taskyard_controlplane.yard;"
        "print([m for m in ('grpc', 'sqlalchemy', 'prometheus_client', 'alembic') if m in sys.modules])"
    )
    found = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert found.stdout.strip() == "[]"


def test_keys_of_secrets_come_from_a_file_or_the_environment(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    serve = ["serve", "--database", "sqlite://"]
    assert serve_settings(_parser().parse_args(serve)).keys is None
    monkeypatch.setenv("TASKYARD_SECRET_KEY", KEY)
    settings = serve_settings(_parser().parse_args(serve))
    assert settings.keys is not None
    assert settings.keys.newest().key == base64.b64decode(KEY)
    assert KEY not in repr(settings)
    file = tmp_path / "keys"
    file.write_text(OTHER_KEY)
    named = serve_settings(_parser().parse_args([*serve, "--secret-key-file", str(file)])).keys
    monkeypatch.setenv("TASKYARD_SECRET_KEY_FILE", str(file))
    for keys in (named, serve_settings(_parser().parse_args(serve)).keys):
        assert keys is not None
        assert keys.newest().key == base64.b64decode(OTHER_KEY)


def test_keys_that_are_none_are_a_usage_error(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    serve = ["serve", "--database", "sqlite://"]
    with pytest.raises(InvalidSettings, match=f"there is no file of keys {tmp_path / 'none'}"):
        serve_settings(_parser().parse_args([*serve, "--secret-key-file", str(tmp_path / "none")]))
    monkeypatch.setenv("TASKYARD_SECRET_KEY", "hunter2")
    with pytest.raises(InvalidSettings, match="key 1 in TASKYARD_SECRET_KEY is not 32 bytes") as caught:
        serve_settings(_parser().parse_args(serve))
    assert "hunter2" not in str(caught.value)


@pytest.mark.parametrize(("mode", "warned"), [(0o600, False), (0o640, False), (0o644, True)])
def test_a_file_of_keys_that_all_can_read_is_warned_of(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, mode: int, warned: bool
) -> None:
    file = tmp_path / "keys"
    file.write_text(KEY)
    file.chmod(mode)
    serve_settings(_parser().parse_args(["serve", "--database", "sqlite://", "--secret-key-file", str(file)]))
    assert (f"others can read the file of keys {file}" in caplog.text) is warned
    assert KEY not in caplog.text
