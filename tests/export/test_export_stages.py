"""``shrota export check --stages`` from the checkpoint on; tests/e2e/test_stages.py has the last stage, a server."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from shrota_export.cli import export
from shrota_export.errors import GateError
from shrota_export.gate import Thresholds
from shrota_export.precision.kinds import Precision
from shrota_testing.windows import shorten_windows


@pytest.fixture(autouse=True)
def windows(monkeypatch: pytest.MonkeyPatch) -> None:
    shorten_windows(monkeypatch)


@pytest.fixture
def checkpoint(tmp_path: Path, tiny_checkpoint: Path) -> Path:
    """One that a test may change."""
    return Path(shutil.copytree(tiny_checkpoint, tmp_path / "checkpoint"))


@pytest.fixture
def graph(repository: Path, checkpoint: Path, export_tiny: Callable[..., None]) -> Path:
    export_tiny(repository, checkpoint=checkpoint)
    return repository / "acoustic_onnx" / "1" / "model.onnx"


def test_every_step_is_reported_and_judged_by_the_settings(
    graph: Path, checkpoint: Path, speech: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    output = tmp_path / "stages.json"
    arguments = ["check", str(graph), "--against", str(graph), "--manifest", str(speech), "--stages"]

    def walk(*options: str) -> dict[str, Any]:
        export.main([*arguments, "--output", str(output), *options], standalone_mode=False)
        content: dict[str, Any] = json.loads(output.read_text(encoding="utf-8"))
        return content

    content = walk("--threshold", "mean_difference=0.25")
    assert content["checkpoint_change"] is None
    assert [(step["before"], step["after"]) for step in content["stages"]] == [("PyTorch", "ONNX"), ("ONNX", "fused")]
    usual = Thresholds.of(Precision.FP32).as_dict()
    assert [step["thresholds"] for step in content["stages"]] == [{**usual, "mean_difference": 0.25}] * 2
    assert "was exported from" not in capsys.readouterr().err

    with (checkpoint / "config.json").open("a", encoding="utf-8") as file:
        file.write("\n")
    output.unlink()
    with pytest.raises(GateError, match=r"^ONNX \(fp32\) is refused: log-probabilities differ on average"):
        walk("--threshold", "mean_difference=-1")
    written = json.loads(output.read_text(encoding="utf-8"))
    assert [step["passed"] for step in written["stages"]] == [False, False]
    (line,) = [line for line in capsys.readouterr().err.splitlines() if "was exported from" in line]
    assert line == written["checkpoint_change"]
    assert line.startswith(f"the checkpoint {checkpoint} is not what {graph} was exported from: its SHA-256 is ")
