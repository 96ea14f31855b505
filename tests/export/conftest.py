"""Speech to verify with, a tiny checkpoint, and a repository without an export."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest
import soundfile

from shrota_export.cli import export
from shrota_testing.checkpoints import make_audio, write_checkpoint
from shrota_testing.repository import copy_repository


@pytest.fixture(scope="session")
def speech(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A manifest of three short files."""
    folder = tmp_path_factory.mktemp("speech")
    lines = []
    for index, num_samples in enumerate((24000, 16000, 20000)):
        name = f"{index}.wav"
        soundfile.write(folder / name, make_audio(num_samples, index), 16000)
        lines.append(json.dumps({"audio": name, "text": ""}))
    manifest = folder / "manifest.jsonl"
    manifest.write_text("\n".join(lines), encoding="utf-8")
    return manifest


@pytest.fixture(scope="session")
def tiny_checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny wav2vec 2.0 checkpoint; tests that change it copy it."""
    return write_checkpoint(tmp_path_factory.mktemp("checkpoint"))


@pytest.fixture(scope="session")
def export_tiny(tiny_checkpoint: Path, speech: Path) -> Callable[..., None]:
    """Runs ``shrota export onnx`` in this process, with the tiny checkpoint unless another is given."""

    def run(repository: Path, *options: str, checkpoint: Path = tiny_checkpoint) -> None:
        arguments = ["onnx", str(checkpoint), "--repository", str(repository), "--speech", str(speech), *options]
        export.main(arguments, standalone_mode=False)

    return run


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    """The repository before any export."""
    return copy_repository(tmp_path / "model_repository")
