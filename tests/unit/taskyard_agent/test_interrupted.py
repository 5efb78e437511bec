"""Ctrl-C while a program is still starting."""

import runpy

import pytest


@pytest.mark.parametrize("module", ["taskyard_agent", "taskyard_controlplane"])
def test_ctrl_c_while_it_starts_is_no_traceback(monkeypatch: pytest.MonkeyPatch, module: str):
    def interrupted() -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(f"{module}.cli.main", interrupted)
    with pytest.raises(SystemExit) as ending:
        runpy.run_module(module, run_name="__main__", alter_sys=True)
    assert ending.value.code == 130


def test_the_command_line_neither(monkeypatch: pytest.MonkeyPatch):
    import taskyard.cli.app
    from taskyard.cli import main

    def interrupted() -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(taskyard.cli.app, "run", interrupted)
    with pytest.raises(SystemExit) as ending:
        main()
    assert ending.value.code == 130
