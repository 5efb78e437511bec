"""Programs say which extra they lack, all of what is missing at once."""

import sys

import pytest

from taskyard_contract.programs.extras import NEEDED, ExtraMissing, require_extra


@pytest.mark.parametrize("extra", ["server", "agent"])
def test_what_is_installed_is_enough(extra: str) -> None:
    require_extra(extra, "a program")


def test_all_that_is_missing_is_named_with_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("sqlalchemy", "grpc_health"):
        monkeypatch.setitem(sys.modules, name, None)
    with pytest.raises(ExtraMissing) as caught:
        require_extra("server", "a server")
    assert str(caught.value) == (
        "a server needs sqlalchemy, grpc_health, which are not installed; "
        "install what is missing with: pip install 'taskyard[server]', or in a checkout of it: "
        "pip install '.[server]'"
    )


@pytest.mark.parametrize(("extra", "name"), [(extra, name) for extra in NEEDED for name in NEEDED[extra]])
def test_each_package_is_missed(monkeypatch: pytest.MonkeyPatch, extra: str, name: str) -> None:
    monkeypatch.setitem(sys.modules, name, None)
    with pytest.raises(ExtraMissing, match=rf"{name}, which is not installed; .*'taskyard\[{extra}\]'"):
        require_extra(extra, "a program")
