"""Whether perf_analyzer is there, runs, and has what is needed of it."""

import re
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

from shrota_client.failures import one_line
from shrota_loadtest.errors import PerfAnalyzerError

NAME = "perf_analyzer"
NEEDED = (
    "--async",
    "--concurrency-range",
    "--input-data",
    "--max-trials",
    "--measurement-interval",
    "--output-shared-memory-size",
    "--profile-export-file",
    "--request-intervals",
    "--shared-memory",
    "--stability-percentage",
    "-v",
)
"""Options that are used. ``--profile-export-file`` is the youngest, of the container 23.09."""
REMEDY = (
    "take it from NVIDIA's SDK container, nvcr.io/nvidia/tritonserver:YY.MM-py3-sdk of 23.09 or later, or "
    "`pip install perf-analyzer` where glibc is 2.38 or later (Ubuntu 24.04); --perf-analyzer names it"
)
ANSWER_S = 30.0
VERSION = re.compile(r"Perf Analyzer Version (.+)")


@dataclass(frozen=True)
class Program:
    """A perf_analyzer that can be used.

    Attributes:
        path: absolute, as it is run in other folders.
        version: as it says itself; its wheel on PyPI says 0.0.0 and the commit.
    """

    path: str
    version: str


def find_program(name: str | None = None) -> Program:
    """Looks for perf_analyzer and asks it for its options.

    Args:
        name: a path or a name on the PATH; None for ``perf_analyzer``.

    Raises:
        PerfAnalyzerError: there is none, it does not run here, or it is too old.
    """
    path = absolute(name or NAME)
    said = _ask(path)
    if "GLIBC" in said:  # of the dynamic linker
        raise PerfAnalyzerError(f"{path} needs a newer C library than this system has: {REMEDY}")
    missing = [option for option in NEEDED if not re.search(rf"{option}(?![\w-])", said)]
    if len(missing) == len(NEEDED):
        raise PerfAnalyzerError(f"{path} does not run here ({one_line(said, 200) or 'it says nothing'}): {REMEDY}")
    if missing:
        raise PerfAnalyzerError(f"{path} is too old, it lacks {', '.join(missing)}: {REMEDY}")
    version = VERSION.search(_ask(path, "--version"))
    return Program(path, version[1].strip() if version else "unknown")


def absolute(name: str) -> str:
    """The program's path from the root on.

    Raises:
        PerfAnalyzerError: there is none that may be run.
    """
    found = shutil.which(name)
    if found is None:
        where = "on the PATH" if name == NAME else f"at {name}"
        raise PerfAnalyzerError(f"no perf_analyzer {where}: {REMEDY}")
    return str(Path(found).absolute())


def _ask(path: str, *arguments: str) -> str:
    """What it says; without arguments, all of its options."""
    try:
        done = subprocess.run(  # noqa: S603 - the user names it
            [path, *arguments], capture_output=True, text=True, errors="replace", timeout=ANSWER_S, check=False
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise PerfAnalyzerError(f"{path} does not run here ({one_line(str(error), 200)}): {REMEDY}") from error
    return done.stdout + done.stderr
