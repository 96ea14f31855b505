"""Says in one line what this machine lacks, before anything is installed; needs nothing but Python 3."""

import importlib.util
import sys
import sysconfig
from pathlib import Path

SUPPORTED = ((3, 11), (3, 12))


def missing() -> str | None:
    """One line that names what is missing and the remedy, or None."""
    version = f"{sys.version_info.major}.{sys.version_info.minor}"
    if sys.version_info[:2] not in SUPPORTED:
        return f"Python {version} cannot run Shrota: install python3.12 (or 3.11) and call `make PYTHON=python3.12 ...`"
    if importlib.util.find_spec("ensurepip") is None:
        return f"this Python has no venv: apt-get install python{version}-venv"
    library = sysconfig.get_config_var("INSTSONAME") or f"libpython{version}.so.1.0"
    folders = [Path(str(sysconfig.get_config_var(name))) for name in ("LIBDIR", "LIBPL")]
    folders += [folder / str(sysconfig.get_config_var("MULTIARCH")) for folder in folders[:1]]
    if not str(library).endswith(".a") and any((folder / library).exists() for folder in folders):
        return None
    if any((folder / f"libpython{version}.so.1.0").exists() for folder in folders):
        return None
    return (
        f"Triton's Python backend needs the shared library libpython{version}.so: "
        f"apt-get install libpython{version} (or build Python with --enable-shared)"
    )


if __name__ == "__main__":
    problem = missing()
    if problem is not None:
        sys.exit(f"shrota: {problem}")
