"""Copies of a model repository with another configuration, which take no room."""

import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from shrota_client.configuration import CONFIGURATION, write_configuration
from shrota_client.failures import one_line
from shrota_client.writing import writing
from shrota_loadtest.errors import SweepError
from shrota_loadtest.sweep.settings import parameters

SCHEDULER = "acoustic"
CODE, FRONTEND = "1", "frontend.json"
CHECK = """
import sys
from pathlib import Path
from shrota_acoustic.errors import SettingsError
from shrota_acoustic.settings import load_settings
try:
    load_settings(sys.argv[1], Path(sys.argv[2]))
except SettingsError as error:
    sys.exit(f"refused: {error}")
"""
"""Run beside the model's own code, which knows what its parameters may be."""
REFUSED = "refused: "
CHECK_S = 60.0


@contextmanager
def room_beside(repository: Path) -> Iterator[Path]:
    """A folder on the repository's file system, so that files can be linked; removed at the end.

    Raises:
        OutputError: neither there nor for temporary files is a folder that can be written.
    """
    parent = repository.resolve().parent
    with writing(parent):
        room = tempfile.TemporaryDirectory(
            prefix=".shrota-sweep-", dir=parent if os.access(parent, os.W_OK) else None, ignore_cleanup_errors=True
        )
    with room as name:
        yield Path(name)


def copy_repository(source: Path, folder: Path, changed: Mapping[str, Any]) -> Path:
    """A copy whose files are the source's own, by hard link, but for the changed configurations.

    Args:
        source: the repository.
        folder: is made.
        changed: new configurations by model.

    Raises:
        OutputError: it cannot be written.
    """
    with writing(folder):
        shutil.copytree(source, folder, copy_function=_link, ignore=shutil.ignore_patterns(".*"))
        for model, config in changed.items():
            path = folder / model / CONFIGURATION
            path.unlink()  # a link: writing into it would change the source
            path.write_text(write_configuration(config), encoding="utf-8")
    return folder


def _link(source: str, target: str) -> None:
    real = Path(source).resolve()
    try:
        Path(target).hardlink_to(real)
    except OSError:  # another file system, or one without links
        shutil.copy2(real, target)


def check_scheduler(repository: Path, config: Any, label: str) -> None:
    """Asks the code of ``acoustic`` in the repository whether it takes these parameters.

    Raises:
        SweepError: it does not; in its own words. Or it does not answer within :data:`CHECK_S`.
    """
    code = repository / SCHEDULER / CODE
    content = {"parameters": {name: {"string_value": value} for name, value in parameters(config).items()}}
    try:
        done = subprocess.run(  # noqa: S603 - the code that the server would run
            [sys.executable, "-c", CHECK, json.dumps(content), str(code / FRONTEND)],
            env={**os.environ, "PYTHONPATH": str(code), "PYTHONDONTWRITEBYTECODE": "1"},
            capture_output=True,
            text=True,
            encoding="utf-8",
            errors="replace",
            timeout=CHECK_S,
            check=False,
        )
    except subprocess.TimeoutExpired:
        raise SweepError(f"--set {label}: the code of {SCHEDULER} did not say within {CHECK_S:g} s") from None
    if done.returncode:
        last = done.stderr.strip().rpartition("\n")[2]
        raise SweepError(f"--set {label}: {one_line(last.removeprefix(REFUSED))}")
