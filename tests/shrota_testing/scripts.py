"""The programs that the images bring, as modules: they lie in no package."""

import importlib.util
import re
import sys
from pathlib import Path
from types import ModuleType

from shrota_testing.repository import ROOT

SERVE = ROOT / "docker/server/serve.py"
PROBE = ROOT / "docker/server/probe.py"
PREPARE = ROOT / "docker/export/prepare.py"


def load(path: Path) -> ModuleType:
    """A program's module."""
    name = f"docker_{path.stem}"
    specification = importlib.util.spec_from_file_location(name, path)
    assert specification is not None
    assert specification.loader is not None
    module = importlib.util.module_from_spec(specification)
    sys.modules[name] = module  # dataclasses look there
    specification.loader.exec_module(module)
    return module


def settings_of(path: Path) -> set[str]:
    """The names of the environment variables of ours that a program reads."""
    return set(re.findall(r'"(SHROTA_[A-Z_]+)"', path.read_text(encoding="utf-8")))
