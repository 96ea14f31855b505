"""Says in one line what this machine lacks, before anything is installed; needs nothing but Python 3."""

import ctypes.util
import importlib.util
import sys
import sysconfig
from pathlib import Path

SUPPORTED = ((3, 11), (3, 12))


def has_shared_library(version: str) -> bool:
    """Whether this Python's shared library is there; looks where ``shrota_server.installation`` does."""
    name = f"libpython{version}.so.1.0"
    configured = [sysconfig.get_config_var("LIBDIR"), sysconfig.get_config_var("LIBPL")]
    folders = [Path(sys.base_prefix) / "lib", *(Path(folder) for folder in configured if folder)]
    return any((folder / name).is_file() for folder in folders) or ctypes.util.find_library(f"python{version}") == name


def missing() -> "str | None":
    """One line that names what is missing and the remedy, or None."""
    version = f"{sys.version_info[0]}.{sys.version_info[1]}"
    if tuple(sys.version_info[:2]) not in SUPPORTED:
        return f"Python {version} cannot run Shrota: install python3.12 (or 3.11) and call `make PYTHON=python3.12 ...`"
    if importlib.util.find_spec("ensurepip") is None:
        return f"this Python has no venv: apt-get install python{version}-venv"
    if not has_shared_library(version):
        return (
            f"Triton's Python backend needs the shared library libpython{version}.so.1.0: "
            f"apt-get install libpython{version} (or build Python with --enable-shared)"
        )
    return None


if __name__ == "__main__":
    problem = missing()
    if problem is not None:
        sys.exit(f"shrota: {problem}")
