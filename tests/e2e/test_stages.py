"""``shrota export check --stages --url``: the last stage is a real server."""

import json
from pathlib import Path

import pytest
import soundfile

from shrota_export.cli import export
from shrota_export.errors import GateError
from shrota_server import TritonServer
from shrota_server.ports import Hosts, Ports, choose
from shrota_testing.checkpoints import make_audio
from shrota_testing.engines import write_tiny_engine
from shrota_testing.windows import shorten_windows

pytestmark = pytest.mark.triton


@pytest.fixture(autouse=True)
def windows(monkeypatch: pytest.MonkeyPatch) -> None:
    shorten_windows(monkeypatch)


@pytest.fixture
def manifest(tmp_path: Path) -> Path:
    soundfile.write(tmp_path / "speech.wav", make_audio(24000), 16000)
    path = tmp_path / "manifest.jsonl"
    path.write_text(json.dumps({"audio": "speech.wav"}), encoding="utf-8")
    return path


def check_stages(graph: Path, manifest: Path, url: str) -> None:
    arguments = ["check", str(graph), "--against", str(graph), "--manifest", str(manifest), "--stages", "--url", url]
    export.main(arguments, standalone_mode=False)


def test_triton_serves_what_was_exported(
    server: TritonServer, repository: Path, manifest: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    check_stages(repository / "acoustic_onnx" / "1" / "model.onnx", manifest, server.grpc_url)
    written = capsys.readouterr()
    unfused, triton = written.out.splitlines()
    assert unfused.startswith("  ONNX -> fused: mean ")
    assert triton.startswith("  fused -> Triton: mean 0, largest 0, best token changes in 0.000% of the frames")
    assert "without PyTorch: name the checkpoint with --checkpoint" in written.err


def test_a_server_with_another_graph_is_the_stage_to_blame(server: TritonServer, manifest: Path) -> None:
    other = manifest.with_name("other.onnx")
    write_tiny_engine(other, seed=1)
    with pytest.raises(GateError, match=r"^Triton \(fp32\) is refused: log-probabilities differ on average by"):
        check_stages(other, manifest, server.grpc_url)


def test_no_server(repository: Path, manifest: Path) -> None:
    url = f"127.0.0.1:{choose(Ports(), Hosts(*['127.0.0.1'] * 3)).grpc}"
    with pytest.raises(GateError, match=rf"^Triton fails: .*acoustic_onnx at {url} does not answer") as caught:
        check_stages(repository / "acoustic_onnx" / "1" / "model.onnx", manifest, url)
    assert "\n" not in str(caught.value)
