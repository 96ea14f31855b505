"""Model repositories of the demo's and the benchmarks' own, so that neither replaces what a user has exported."""

import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
SHROTA = Path(sys.executable).with_name("shrota")
END_S = 60.0
"""Seconds that a command has to end what it has started: a load test's Locust 20, then its server."""
EXPORTED = (
    *("*.onnx", "*.onnx.data", "*.onnx.*.data", "*.plan", "*.safetensors", "model.xml", "model.bin", "*.json", "lm.*"),
    "__pycache__",
)


def shrota(*arguments: str) -> None:
    """Runs the command line as a user would.

    Raises:
        subprocess.CalledProcessError: It failed; its own message has been printed.
    """
    run_to_its_end([str(SHROTA), *arguments])


def run_to_its_end(command: Sequence[str]) -> None:
    """Runs a command; when we are interrupted, it is told to end, and has time to end what it has started.

    ``subprocess.run`` kills it after a quarter of a second, and its own processes live on.

    Raises:
        subprocess.CalledProcessError: It failed.
    """
    with subprocess.Popen(command) as process:
        try:
            code = process.wait()
        except BaseException:
            process.terminate()
            try:
                process.wait(END_S)
            except subprocess.TimeoutExpired:
                process.kill()
            raise
    if code:
        raise subprocess.CalledProcessError(code, list(command))


def export(checkpoint: str, repository: Path) -> None:
    """Copies the configurations and Python models of ``model_repository/`` and exports a checkpoint beside them."""
    ignore = shutil.ignore_patterns(*EXPORTED)
    shutil.copytree(ROOT / "model_repository", repository, ignore=ignore, dirs_exist_ok=True)
    shrota("export", "onnx", checkpoint, "--repository", str(repository))
