"""The models' own metrics outlive the processes that count, which end in good order."""

from pathlib import Path

import pytest

from shrota_client import Client
from shrota_loadtest.metrics import read_metrics
from shrota_server import TritonServer
from shrota_testing.repository import make_repository
from shrota_testing.utterances import noise

pytestmark = pytest.mark.triton
MODELS = ("acoustic", "ctc_decoder")
COUNTERS = ("shrota_audio_seconds_total", "shrota_decoded_audio_seconds_total")


def test_counters_go_on_when_their_models_are_loaded_again(tmp_path: Path) -> None:
    repository = make_repository(tmp_path / "model_repository")
    crashes = tmp_path / "crashes"
    for model in MODELS:
        file = repository / model / "1" / "model.py"
        tell = f"import faulthandler\nfaulthandler.enable(open({str(crashes)!r}, 'a'))\n"
        file.write_text(tell + file.read_text(encoding="utf-8"), encoding="utf-8")
    with (
        TritonServer(repository, models=["asr", "acoustic_onnx"]) as server,
        Client(server.grpc_url) as client,
    ):
        for seconds in (2.0, 4.0):
            client.transcribe(noise(2.0))
            counted = read_metrics(server.metrics_url)
            assert [counted[name] for name in COUNTERS] == [pytest.approx(seconds)] * 2
            for model in MODELS:
                server.control.reload(model, 60)
    assert crashes.read_text(encoding="utf-8") == ""
