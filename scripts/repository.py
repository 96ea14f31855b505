"""Model repositories of the demo's and the benchmarks' own, so that neither replaces what a user has exported."""

import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
SHROTA = Path(sys.executable).with_name("shrota")
EXPORTED = ("*.onnx", "*.onnx.data", "*.onnx.*.data", "*.plan", "*.json", "lm.*", "__pycache__")


def shrota(*arguments: str) -> None:
    """Runs the command line as a user would.

    Raises:
        subprocess.CalledProcessError: It failed; its own message has been printed.
    """
    subprocess.run([str(SHROTA), *arguments], check=True)


def export(checkpoint: str, repository: Path) -> None:
    """Copies the configurations and Python models of ``model_repository/`` and exports a checkpoint beside them."""
    ignore = shutil.ignore_patterns(*EXPORTED)
    shutil.copytree(ROOT / "model_repository", repository, ignore=ignore, dirs_exist_ok=True)
    shrota("export", "onnx", checkpoint, "--repository", str(repository))
