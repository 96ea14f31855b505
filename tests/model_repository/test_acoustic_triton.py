"""The acoustic model inside a real Triton server, with the tiny engine, whose values numpy predicts."""

import json
import shutil
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from tritonclient.utils import InferenceServerException

from benchmarks.metrics import differences, read_metrics
from shrota_server import TritonServer
from shrota_server.errors import ServerError
from shrota_testing.engines import tiny_log_probs
from shrota_testing.repository import make_repository, set_parameter
from shrota_testing.triton import call_http, halted, infer, statistics, tensor, wait_until
from shrota_testing.utterances import noise, noise_rows

pytestmark = pytest.mark.triton

BALLAST = 16384
"""So slow is the engine of these tests that a 20 s window takes a good part of a second: requests can overtake."""


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TritonServer]:
    """A quick engine."""
    repository = make_repository(tmp_path_factory.mktemp("acoustic") / "model_repository")
    set_parameter(repository / "acoustic" / "config.pbtxt", "max_audio_seconds", "100")
    with TritonServer(repository, models=["asr", "acoustic_onnx"]) as running:
        yield running


@pytest.fixture(scope="module")
def slow_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TritonServer]:
    """A slow engine and one window in a batch: time to cancel, and to overtake."""
    repository = make_repository(tmp_path_factory.mktemp("slow") / "model_repository", ballast=BALLAST)
    set_parameter(repository / "acoustic" / "config.pbtxt", "batch_budget_seconds", "20")
    with TritonServer(repository, models=["asr", "acoustic_onnx"]) as running:
        yield running


Outputs = Sequence[NDArray[Any]]


def ask(server: TritonServer, audio: NDArray[np.float32], model: str = "acoustic", **options: Any) -> Outputs:
    """The outputs of a model for one utterance [samples] or several [rows, samples]."""
    outputs = {"acoustic": ["LOG_PROBS", "DURATION"], "asr": ["TRANSCRIPT"]}[model]
    return infer(server.grpc_url, model, [tensor("AUDIO", np.atleast_2d(audio))], outputs, **options)


def assert_own_frames(outputs: Outputs, audio: NDArray[np.float32]) -> None:
    log_probs, durations = outputs
    assert log_probs.dtype == np.float32
    rows = np.atleast_2d(audio)
    for row, values in zip(rows, log_probs, strict=True):
        wanted = tiny_log_probs(row)
        assert values.shape == wanted.shape
        np.testing.assert_allclose(values, wanted, rtol=2e-6, atol=1e-5)
    np.testing.assert_allclose(durations, np.full((len(rows), 1), rows.shape[1] / 16000))


def metric(server: TritonServer, name: str, label: str = "") -> float:
    """A value of the metrics page, summed over its (other) labels; absent counts as 0."""
    return read_metrics(server.metrics_url, label).get(name, 0)


LENGTHS_S = [0.1, 1, 3.337, 10, 19.99, 20, 20.01, 21, 37.5, 38.02, 65]


@pytest.mark.parametrize("seconds", LENGTHS_S)
def test_an_utterance_alone_gives_what_the_engine_gives_for_the_whole(server: TritonServer, seconds: float) -> None:
    audio = noise(seconds)
    assert_own_frames(ask(server, audio), audio)


def test_mixed_lengths_at_once_each_give_their_own(server: TritonServer) -> None:
    audios = [noise(seconds, seed) for seed, seconds in enumerate(LENGTHS_S * 3)]
    with ThreadPoolExecutor(16) as pool:
        for audio, outputs in zip(audios, pool.map(lambda audio: ask(server, audio), audios), strict=True):
            assert_own_frames(outputs, audio)


@pytest.mark.parametrize(("rows", "samples"), [(3, 8000), (2, 480_000), (64, 16000)])
def test_rows_are_utterances(server: TritonServer, rows: int, samples: int) -> None:
    audio = noise_rows(rows, samples)
    assert_own_frames(ask(server, audio), audio)


@pytest.mark.parametrize("samples", [1, 399])
def test_audio_shorter_than_a_frame_has_none_and_its_text_is_empty(server: TritonServer, samples: int) -> None:
    audio = noise(samples / 16000)
    log_probs, _ = ask(server, audio)
    assert log_probs.shape == (1, 0, 68)
    (transcript,) = ask(server, audio, "asr")
    assert transcript.tolist() == [[b""]]


def test_another_sample_rate(server: TritonServer) -> None:
    log_probs, durations = ask(server, noise(2), parameters={"sample_rate": 32000})
    assert log_probs.shape == (1, 49, 68)
    assert durations.tolist() == [[1.0]]


@pytest.mark.parametrize(
    ("audio", "parameters", "told"),
    [
        (np.zeros((1, 0), np.float32), {}, "AUDIO holds no samples"),
        (np.full((2, 800), np.inf, np.float32), {}, "AUDIO holds inf at sample 0 of row 0"),
        (noise(100.1), {}, "AUDIO is 100.10 s long, the limit is 100 s"),
        (noise_rows(2, 801_600), {}, "AUDIO is 2 rows of 50.10 s, the limit is 100 s for all together"),
        (noise(1), {"sample_rate": 999}, "`sample_rate` must be a whole number of Hz from 1000"),
        (noise(1), {"sample_rate": "a word"}, "`sample_rate` must be a whole number of Hz"),
        (noise(1), {"sample_rate": -16000}, "`sample_rate` must be a whole number of Hz"),
        (noise(1), {"engine": "whisper"}, "unknown engine 'whisper'"),
    ],
)
@pytest.mark.parametrize("model", ["acoustic", "asr"])
def test_what_the_caller_can_mend_is_said_in_one_line(
    server: TritonServer, model: str, audio: NDArray[np.float32], parameters: dict[str, Any], told: str
) -> None:
    with pytest.raises(InferenceServerException) as caught:
        ask(server, audio, model, parameters=parameters)
    assert caught.value.status() == "StatusCode.INVALID_ARGUMENT"
    assert told in caught.value.message()
    assert "\n" not in caught.value.message()


@pytest.mark.parametrize("model", ["acoustic", "asr"])
def test_an_unknown_parameter_is_refused_before_the_engine_has_run(server: TritonServer, model: str) -> None:
    before = statistics(server.http_url, "acoustic_onnx")["inference_count"]
    with pytest.raises(InferenceServerException, match="unknown request parameter 'samplerate'") as caught:
        ask(server, noise(1), model, parameters={"samplerate": 8000})
    assert caught.value.status() == "StatusCode.INVALID_ARGUMENT"
    assert statistics(server.http_url, "acoustic_onnx")["inference_count"] == before


@pytest.mark.parametrize("path", ["infer", "generate"])
def test_what_triton_itself_takes_or_adds_is_no_unknown_parameter(server: TritonServer, path: str) -> None:
    """Of an ``infer`` request Triton keeps these for itself; of a ``generate`` one it hands the id on."""
    audio = noise(0.5).tolist()

    def call(name: str) -> tuple[int, dict[str, Any]]:
        body: dict[str, Any] = {"id": "a", "AUDIO": audio, name: 2}
        if path == "infer":
            given = {"name": "AUDIO", "datatype": "FP32", "shape": [1, len(audio)], "data": audio}
            own = {"timeout": 60_000_000, "priority": 1, "sequence_id": 3, "sequence_start": True, "sequence_end": True}
            body = {"id": "a", "inputs": [given], "parameters": {**own, "binary_data_output": False, name: 2}}
        return call_http(server.http_url, f"/v2/models/asr/{path}", body)

    status, content = call("beam_width")
    assert status == 200, content
    status, content = call("beamwidth")
    assert status == 400
    assert "unknown request parameter 'beamwidth'" in content["error"]


def test_an_engine_that_is_not_loaded_is_unavailable(server: TritonServer) -> None:
    with pytest.raises(InferenceServerException, match="engine acoustic_trt is not loaded: load it beside") as caught:
        ask(server, noise(1), parameters={"engine": "acoustic_trt"})
    assert caught.value.status() == "StatusCode.UNAVAILABLE"


def test_metrics_count_audio_rows_and_padding(server: TritonServer) -> None:
    before = read_metrics(server.metrics_url)
    ask(server, noise(10))
    ask(server, noise_rows(2, 480_000))
    after = read_metrics(server.metrics_url)
    grown = differences(before, after)
    assert grown["shrota_engine_batch_rows_count"] == 3
    assert grown["shrota_engine_batch_rows_sum"] == 5
    assert grown["shrota_engine_input_seconds_total"] == pytest.approx(10 + 4 * 19.985)
    assert grown["shrota_padded_seconds_total"] == 0
    assert grown["shrota_engine_wall_seconds_total"] > 0
    assert grown["shrota_audio_seconds_total"] == pytest.approx(70)
    assert after["shrota_pending_seconds"] == 0


def test_a_short_utterance_overtakes_a_long_file(slow_server: TritonServer) -> None:
    audio, short = noise(100), noise(5)
    with ThreadPoolExecutor(2) as pool:
        long = pool.submit(ask, slow_server, audio)
        while metric(slow_server, "shrota_pending_seconds") == 0:
            time.sleep(0.01)
        with halted(slow_server.pid, "acoustic_onnx"):
            time.sleep(0.3)  # until what the engine has already answered is dealt with
            pending = metric(slow_server, "shrota_pending_seconds")
            answer = pool.submit(ask, slow_server, short)
            assert wait_until(lambda: metric(slow_server, "shrota_pending_seconds") == pytest.approx(pending + 5), 10)
            before = metric(slow_server, "shrota_engine_batch_rows_count")
        assert_own_frames(answer.result(), short)
        assert not long.done()
        # its own, one that was being run, and one that may have begun before it arrived
        assert metric(slow_server, "shrota_engine_batch_rows_count") - before <= 3
        assert_own_frames(long.result(), audio)


def wait_until_idle(server: TritonServer) -> None:
    deadline = time.monotonic() + 20
    while metric(server, "shrota_pending_seconds") > 0:
        assert time.monotonic() < deadline
        time.sleep(0.02)


def dropped(server: TritonServer, reason: str) -> float:
    return metric(server, "shrota_dropped_requests_total", f'reason="{reason}"')


def test_a_caller_that_leaves_costs_the_engine_no_further_batch(slow_server: TritonServer) -> None:
    before, batches = dropped(slow_server, "cancelled"), metric(slow_server, "shrota_engine_batch_rows_count")
    with pytest.raises(InferenceServerException, match="Deadline Exceeded"):
        ask(slow_server, noise(400), timeout_s=1)
    wait_until_idle(slow_server)
    assert dropped(slow_server, "cancelled") - before == 1
    assert metric(slow_server, "shrota_engine_batch_rows_count") - batches < 20


@pytest.mark.parametrize("model", ["acoustic", "asr"])
def test_a_request_with_a_time_out_is_dropped_when_it_has_passed(slow_server: TritonServer, model: str) -> None:
    before = dropped(slow_server, "unavailable")
    with pytest.raises(InferenceServerException, match="time-out passed before the engine had run it") as caught:
        ask(slow_server, noise(400), model, timeout=500_000)
    assert caught.value.status() == "StatusCode.UNAVAILABLE"
    wait_until_idle(slow_server)
    assert dropped(slow_server, "unavailable") - before == 1


def test_a_missing_frontend_is_told_when_the_model_is_loaded(tmp_path: Path) -> None:
    repository = make_repository(tmp_path / "model_repository")
    (repository / "acoustic" / "1" / "frontend.json").unlink()
    with pytest.raises(ServerError, match="shrota export onnx"), TritonServer(repository, models=["acoustic"]):
        pass


def test_an_engine_of_another_stride_is_found_out(server: TritonServer, tmp_path: Path) -> None:
    repository = tmp_path / "model_repository"
    shutil.copytree(server.repository, repository)
    path = repository / "acoustic" / "1" / "frontend.json"
    frontend = json.loads(path.read_text(encoding="utf-8"))
    path.write_text(json.dumps({**frontend, "stride": 160}), encoding="utf-8")
    with (
        TritonServer(repository, models=["acoustic", "acoustic_onnx"]) as other,
        pytest.raises(InferenceServerException, match="export the checkpoint again"),
    ):
        ask(other, noise(1))
