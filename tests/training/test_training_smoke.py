"""`make -C training smoke`: every script of the training, with tiny sizes."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from shrota_testing.repository import ROOT

DATA = Path(os.environ.get("SHROTA_TRAINING_DATA", ROOT.parent / "shared" / "data"))
KOKORO = ROOT / ".cache" / "kokoro" / "kokoro.onnx"
LMPLZ = ROOT / ".cache" / "kenlm" / "build" / "bin" / "lmplz"
MISSING = [
    *(str(path) for path in (DATA / "hindi_text.tsv", KOKORO, LMPLZ) if not path.exists()),
    *(name for name in ("make", "festival", "espeak-ng") if not shutil.which(name)),
]


@pytest.mark.skipif(bool(MISSING), reason=f"training's material is not here (training/README.md): {', '.join(MISSING)}")
def test_every_script_runs(tmp_path: Path) -> None:
    arguments = [f"PYTHON={sys.executable}", f"DATA={DATA}", f"WORK={tmp_path}"]
    done = subprocess.run(
        ["make", "-C", str(ROOT / "training"), *arguments, "smoke"],
        text=True,
        encoding="utf-8",
        capture_output=True,
        timeout=600,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    smoke = tmp_path / "smoke"
    for name in ("speech", "other", "real", "pieces"):
        assert any(path.stat().st_size for path in (smoke / name).glob("speech-*.jsonl")), name
    assert (smoke / "run" / "checkpoint" / "model.safetensors").stat().st_size < 20_000_000
    assert (smoke / "lm.arpa.gz").stat().st_size > 0
    assert "CER" in done.stdout
