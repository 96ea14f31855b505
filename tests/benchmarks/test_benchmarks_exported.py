"""The checkpoint that stands beside the numbers."""

import json
from pathlib import Path

import pytest

from benchmarks.exported import BUNDLED, Checkpoint

SHA256 = "0123456789abcdef" * 4


@pytest.mark.parametrize(
    ("exported_from", "shown"), [(str(BUNDLED), "models/hindi-small"), ("/elsewhere/mine", "/elsewhere/mine")]
)
def test_the_checkpoint_is_what_was_exported_with_its_hash(tmp_path: Path, exported_from: str, shown: str) -> None:
    folder = tmp_path / "acoustic_onnx" / "1"
    folder.mkdir(parents=True)
    manifest = {"checkpoint": {"name": exported_from, "sha256": SHA256, "config": {}}, "settings": {}}
    (folder / "manifest.json").write_text(json.dumps(manifest), encoding="utf-8")
    checkpoint = Checkpoint.of(tmp_path)
    assert checkpoint == Checkpoint(shown, SHA256)
    assert checkpoint.line() == f"checkpoint `{shown}` (SHA-256 0123456789ab)"
