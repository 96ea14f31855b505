"""The backend's ``model.py`` by itself, with a fake TensorRT; and under a real Triton, where there is no GPU."""

import shutil
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import shrota_server
from shrota_server import TritonServer, installation
from shrota_server.errors import RepositoryError, StartError
from shrota_tensorrt import opening
from shrota_testing.backends import engine_request, load_engine
from shrota_testing.engines import tiny_log_probs, write_tiny_engine
from shrota_testing.fake_tensorrt import FakeDevice, FakeTensorRT
from shrota_testing.pb_utils import TritonError, TritonModelException
from shrota_testing.repository import copy_repository, make_repository
from shrota_testing.utterances import noise_rows

BACKENDS = Path(shrota_server.__file__).parent / "backends"


@pytest.fixture
def engine(tmp_path: Path) -> Path:
    """The folder of acoustic_trt, with a plan that the fake can read."""
    folder = copy_repository(tmp_path / "model_repository") / "acoustic_trt"
    write_tiny_engine(folder / "1" / "model.plan")
    return folder


@pytest.fixture
def device(monkeypatch: pytest.MonkeyPatch) -> FakeDevice:
    """The GPU, and a TensorRT that uses it."""
    fake = FakeDevice()
    trt = FakeTensorRT(device=fake, profiles=[((1, 400), (4, 4000), (8, 4000))])
    monkeypatch.setitem(sys.modules, "tensorrt", trt)
    monkeypatch.setattr(opening, "CudaDevice", lambda _: fake)
    return fake


def test_every_request_gets_its_answer_or_its_own_error(
    engine: Path, device: FakeDevice, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = load_engine("tensorrt", engine, monkeypatch, "GPU")
    asked = [engine_request(2), engine_request(9), engine_request(1, cancelled=True), engine_request(1, 1000)]
    first, too_large, gone, last = model.execute(asked)
    assert too_large.error.code == TritonError.INVALID_ARG
    assert too_large.error.message.startswith("no profile of the plan holds")
    assert gone.error == TritonError("the request was cancelled", TritonError.CANCELLED)
    for response, one in ((first, asked[0]), (last, asked[3])):
        assert response.error is None
        for row, log_probs in zip(one.tensors["AUDIO"], response.output("LOG_PROBS"), strict=True):
            np.testing.assert_allclose(log_probs, tiny_log_probs(row), atol=2e-5)
    model.finalize()
    assert device.memory == {}


def test_a_gpu_that_fails_fails_one_request(engine: Path, device: FakeDevice, monkeypatch: pytest.MonkeyPatch) -> None:
    model = load_engine("tensorrt", engine, monkeypatch, "GPU")
    with monkeypatch.context() as patch:
        patch.setattr(device, "synchronize", lambda: 1 / 0)
        (response,) = model.execute([engine_request(1)])
    assert response.error == TritonError("division by zero", TritonError.INTERNAL)


def test_a_plan_without_a_declared_output(engine: Path, device: FakeDevice, monkeypatch: pytest.MonkeyPatch) -> None:
    config = engine / "config.pbtxt"
    config.write_text(config.read_text("utf-8").replace('"NUM_FRAMES"', '"FRAMES"'), "utf-8")
    with pytest.raises(TritonModelException, match="it has no output FRAMES, but LOG_PROBS, NUM_FRAMES"):
        load_engine("tensorrt", engine, monkeypatch, "GPU")


def test_the_flavour_of_the_description_is_loaded(
    engine: Path, device: FakeDevice, monkeypatch: pytest.MonkeyPatch
) -> None:
    (engine / "1" / "plan.json").write_text('{"tensorrt": {"flavour": "tensorrt-rtx"}}', "utf-8")
    monkeypatch.setitem(sys.modules, "tensorrt_rtx", None)
    with pytest.raises(
        TritonModelException, match=r"the package tensorrt-rtx cannot be loaded .* `pip install tensorrt"
    ):
        load_engine("tensorrt", engine, monkeypatch, "GPU")
    monkeypatch.setitem(sys.modules, "tensorrt_rtx", sys.modules["tensorrt"])
    assert load_engine("tensorrt", engine, monkeypatch, "CPU").execute([engine_request(1)])[0].error is None


def test_an_unknown_flavour(engine: Path, device: FakeDevice, monkeypatch: pytest.MonkeyPatch) -> None:
    (engine / "1" / "plan.json").write_text('{"tensorrt": {"flavour": "openvino"}}', "utf-8")
    with pytest.raises(
        TritonModelException, match=r"plan\.json names the unknown flavour 'openvino': run `shrota export"
    ):
        load_engine("tensorrt", engine, monkeypatch, "GPU")


@pytest.mark.triton
def test_triton_takes_the_configuration_and_says_what_is_missing(engine: Path) -> None:
    with pytest.raises(StartError, match="model acoustic_trt cannot be loaded: ") as caught:
        TritonServer(engine.parent, models=["acoustic_trt"]).__enter__()
    assert "\n" not in str(caught.value)
    assert "the package tensorrt cannot be loaded" in str(caught.value)


def test_no_plan_is_known_before_the_start(engine: Path) -> None:
    (engine / "1" / "model.plan").unlink()
    with pytest.raises(RepositoryError, match=r"no engine at .*model\.plan: run `shrota export tensorrt --repository"):
        TritonServer(engine.parent, models=["acoustic_trt"]).__enter__()


STAND_IN = """
import sys
sys.path.append({tests!r})
from shrota_tensorrt import opening
from shrota_testing.fake_tensorrt import FakeDevice, FakeTensorRT

device = FakeDevice()
opening.CudaDevice = lambda ordinal: device
sys.modules[__name__] = FakeTensorRT(
    device=device, profiles=[((1, 400), (23, 27826), (64, 27826)), ((1, 27827), (2, 320000), (22, 320000))]
)
"""


@pytest.mark.triton
def test_triton_serves_speech_through_it(engine: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Triton, ``acoustic``, configuration, warm-up and backend are real; only TensorRT and the GPU are not."""
    from concurrent.futures import ThreadPoolExecutor

    from tritonclient.grpc import InferenceServerClient, InferInput

    make_repository(tmp_path / "whole")
    for name in ("acoustic/1/frontend.json", "ctc_decoder/1/vocab.json"):
        shutil.copy(tmp_path / "whole" / name, engine.parent / name)
    # Triton's stub finds modules beside the backend's model.py
    backends = tmp_path / "backends"
    shutil.copytree(BACKENDS, backends)
    (backends / "tensorrt" / "tensorrt.py").write_text(STAND_IN.format(tests=str(Path(__file__).parents[1])), "utf-8")
    monkeypatch.setattr(installation, "BACKENDS", backends)
    rows = [noise_rows(1, samples, seed=samples) for samples in (5000, 16000, 5100, 400_000, 30_000)]
    with TritonServer(engine.parent, models=["acoustic", "acoustic_trt"], default_engine="acoustic_trt") as server:

        def ask(audio: Any) -> Any:
            tensor = InferInput("AUDIO", list(audio.shape), "FP32")
            tensor.set_data_from_numpy(audio)
            with InferenceServerClient(server.grpc_url) as client:
                return client.infer("acoustic", [tensor]).as_numpy("LOG_PROBS")

        with ThreadPoolExecutor(len(rows)) as pool:
            answers = list(pool.map(ask, rows))
    for audio, answer in zip(rows, answers, strict=True):
        np.testing.assert_allclose(answer[0], tiny_log_probs(audio[0]), atol=2e-5)
