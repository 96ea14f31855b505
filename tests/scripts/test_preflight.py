"""What ``make`` says of a machine that lacks something, before anything is installed."""

import ctypes.util
import importlib.util
import subprocess
import sys
import sysconfig
from pathlib import Path

import pytest

from scripts import preflight
from shrota_server.errors import InstallationError
from shrota_server.installation import find_libpython_folder
from shrota_testing.repository import ROOT

HERE = f"{sys.version_info[0]}.{sys.version_info[1]}"


@pytest.fixture
def no_library(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A Python without its shared library."""
    monkeypatch.setattr(sysconfig, "get_config_var", lambda _name: str(tmp_path))
    monkeypatch.setattr(sys, "base_prefix", str(tmp_path))
    monkeypatch.setattr(ctypes.util, "find_library", lambda _name: None)


def test_this_machine_lacks_nothing() -> None:
    assert preflight.missing() is None
    assert subprocess.run([sys.executable, ROOT / "scripts" / "preflight.py"], check=False).returncode == 0


@pytest.mark.parametrize("version", [(3, 10), (3, 13), (2, 7)])
def test_another_python_is_named_with_the_remedy(monkeypatch: pytest.MonkeyPatch, version: tuple[int, int]) -> None:
    monkeypatch.setattr(sys, "version_info", (*version, 0))
    assert preflight.missing() == (
        f"Python {version[0]}.{version[1]} cannot run Shrota: install python3.12 (or 3.11) and call "
        "`make PYTHON=python3.12 ...`"
    )


def test_a_missing_venv_is_named_with_its_package(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda _name: None)
    assert preflight.missing() == f"this Python has no venv: apt-get install python{HERE}-venv"


@pytest.mark.usefixtures("no_library")
def test_a_missing_shared_library_is_named_with_its_package_here_and_by_the_server() -> None:
    text = preflight.missing()
    assert text is not None
    assert f"apt-get install libpython{HERE}" in text
    with pytest.raises(InstallationError, match=f"apt-get install libpython{HERE}"):
        find_libpython_folder()
