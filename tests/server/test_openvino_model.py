"""The OpenVINO backend's ``model.py`` with the tiny engine: values, errors, and what it says of bad files."""

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import openvino
import pytest

from shrota_server import StartError, TritonServer
from shrota_testing.backends import engine_request, load_engine
from shrota_testing.engines import tiny_log_probs, write_tiny_engine
from shrota_testing.pb_utils import TritonError, TritonModelException
from shrota_testing.repository import ROOT, copy_repository, set_parameter
from shrota_testing.triton import engine_inputs, infer, statistics
from shrota_testing.utterances import noise_rows

OPTIONS = {"INFERENCE_PRECISION_HINT": "f32", "DYNAMIC_QUANTIZATION_GROUP_SIZE": "0"}
SHORTEST = 400


def write_model(folder: Path, vocabulary_size: int = 68, shortest: int = SHORTEST) -> None:
    """The tiny engine in OpenVINO's form, in float32."""
    write_tiny_engine(folder / "tiny.onnx", vocabulary_size)
    model = openvino.Core().read_model(folder / "tiny.onnx")
    model.reshape({"AUDIO": openvino.PartialShape([-1, openvino.Dimension(shortest, -1)])})
    for name, value in OPTIONS.items():
        model.set_rt_info(value, ["runtime_options", name])
    openvino.save_model(model, folder / "model.xml", compress_to_fp16=False)
    (folder / "tiny.onnx").unlink()


@pytest.fixture
def engine(tmp_path: Path) -> Path:
    """The folder of ``acoustic_openvino`` with the tiny engine."""
    folder = copy_repository(tmp_path / "model_repository") / "acoustic_openvino"
    write_model(folder / "1")
    return folder


@pytest.fixture
def load(engine: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[], Any]:
    return lambda: load_engine("openvino", engine, monkeypatch)


def assert_is_right(response: Any, asked: Any) -> None:
    assert response.error is None
    for row, log_probs in zip(asked.tensors["AUDIO"], response.output("LOG_PROBS"), strict=True):
        np.testing.assert_allclose(log_probs, tiny_log_probs(row), atol=2e-5)


def test_requests_of_any_shapes_get_their_own_values(load: Callable[[], Any]) -> None:
    model = load()
    batch = [engine_request(1), engine_request(5, cancelled=True), engine_request(2), engine_request(3, 7000)]
    first, gone, second, third = model.execute(batch)
    assert gone.error == TritonError("the request was cancelled", TritonError.CANCELLED)
    for response, asked in ((first, batch[0]), (second, batch[2]), (third, batch[3])):
        assert_is_right(response, asked)
    np.testing.assert_array_equal(third.output("NUM_FRAMES"), [[21]] * 3)
    model.finalize()


def test_answers_are_not_overwritten_by_the_next_run(load: Callable[[], Any]) -> None:
    model = load()
    asked = engine_request(2)
    (response,) = model.execute([asked])
    model.execute([engine_request(1), engine_request(2, 9000)])
    assert_is_right(response, asked)


def test_what_is_too_short_is_invalid_and_harms_no_other(load: Callable[[], Any]) -> None:
    model = load()
    batch = [engine_request(1), engine_request(1, 100), engine_request(2)]
    first, short, last = model.execute(batch)
    assert short.error == TritonError("OpenVINO: AUDIO is [1, 100]: the model takes [?,400..]", TritonError.INVALID_ARG)
    assert_is_right(first, batch[0])
    assert_is_right(last, batch[2])


def test_a_run_that_fails_harms_no_later_one_of_any_shape(engine: Path, load: Callable[[], Any]) -> None:
    """Of a file that does not say what is too short, OpenVINO finds it out while it runs."""
    write_model(engine / "1", shortest=0)
    model = load()
    good, short = engine_request(1), engine_request(1, 100)
    for request in (good, short, good, short, short, good):
        (response,) = model.execute([request])
        if request is good:
            assert_is_right(response, good)
        else:
            assert response.error.code == TritonError.INTERNAL
            assert response.error.message.startswith("OpenVINO: [CPU] Convolution")
            assert "\n" not in response.error.message
            assert "src/" not in response.error.message


def test_the_model_s_file_says_the_precision_unless_the_configuration_does(
    engine: Path, load: Callable[[], Any]
) -> None:
    assert load()._session.precision == "f32"
    set_parameter(engine / "config.pbtxt", "INFERENCE_PRECISION_HINT", "bf16")
    has_bfloat16 = "BF16" in openvino.Core().get_property("CPU", "OPTIMIZATION_CAPABILITIES")
    assert load()._session.precision == ("bf16" if has_bfloat16 else "f32")


def missing(folder: Path) -> None:
    (folder / "model.xml").unlink()


def without_weights(folder: Path) -> None:
    (folder / "model.bin").unlink()


def truncated_weights(folder: Path) -> None:
    (folder / "model.bin").write_bytes((folder / "model.bin").read_bytes()[:1000])


def no_model(folder: Path) -> None:
    (folder / "model.xml").write_text("<html>not found</html>", encoding="utf-8")


def truncated(folder: Path) -> None:
    (folder / "model.xml").write_bytes((folder / "model.xml").read_bytes()[:2000])


def foreign(folder: Path) -> None:
    write_model(folder, vocabulary_size=32)


@pytest.mark.parametrize(
    ("spoil", "text"),
    [
        (missing, r"^no engine at .*model\.xml: "),
        (without_weights, r"cannot be read by OpenVINO \(.*bin file"),
        (truncated_weights, r"cannot be read by OpenVINO \(.*bin file"),
        (no_model, r"cannot be read by OpenVINO \(Unable to read the model"),
        (truncated, r"cannot be read by OpenVINO \(Error parsing element"),
        (foreign, r"does not fit config\.pbtxt \(output LOG_PROBS has shape \[any, any, 32\], not \[any, any, 68\]\)"),
    ],
)
def test_a_bad_file_is_one_line(
    engine: Path, load: Callable[[], Any], spoil: Callable[[Path], None], text: str
) -> None:
    spoil(engine / "1")
    with pytest.raises(TritonModelException, match=text) as caught:
        load()
    assert "run `shrota export openvino CHECKPOINT`" in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_wrong_setting_is_one_line(engine: Path, load: Callable[[], Any]) -> None:
    set_parameter(engine / "config.pbtxt", "NUM_STREAMS", "many")
    with pytest.raises(
        TritonModelException, match=r"^config\.pbtxt of acoustic_openvino: parameter NUM_STREAMS is 'many'"
    ):
        load()


def test_without_the_package_one_line_says_what_to_install(
    load: Callable[[], Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "openvino", None)
    for module in ("session", "package"):
        monkeypatch.delitem(sys.modules, f"shrota_openvino.{module}", raising=False)
    with pytest.raises(
        TritonModelException, match=r"^acoustic_openvino needs the package openvino .*: run `pip install openvino`$"
    ):
        load()


@pytest.mark.parametrize(
    "statement",
    ["import shrota_openvino.session", "from shrota_export.openvino import runtime; runtime.find_openvino()"],
)
def test_openvino_s_telemetry_is_never_imported(tmp_path: Path, statement: str) -> None:
    (tmp_path / "openvino_telemetry.py").write_text("raise SystemExit('telemetry')", encoding="utf-8")
    folders = [
        tmp_path,
        *(ROOT / "server/src/shrota_server" / name for name in ("backend_common", "backends/openvino")),
    ]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(map(str, folders))}
    code = f"{statement}; from openvino.tools.ovc import telemetry_utils as t; print(t.tm.__name__)"
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=False)
    assert (done.stdout, done.stderr) == ("openvino.tools.ovc.telemetry_stub\n", "")


@pytest.mark.triton
def test_a_start_without_weights_fails_in_one_line(engine: Path) -> None:
    without_weights(engine / "1")
    with pytest.raises(StartError) as caught, TritonServer(engine.parent, models=["acoustic_openvino"]):
        pass
    assert str(caught.value).startswith("model acoustic_openvino cannot be loaded: ")
    assert "run `shrota export openvino CHECKPOINT`" in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.triton
def test_ready_means_warm_and_values_are_the_engine_s(engine: Path) -> None:
    audio = noise_rows(3, 16000)
    with TritonServer(engine.parent, models=["acoustic_openvino"]) as server:
        batches = statistics(server.http_url, "acoustic_openvino")["batch_stats"]
        log_probs, frames = infer(
            server.grpc_url, "acoustic_openvino", engine_inputs(audio), ["LOG_PROBS", "NUM_FRAMES"]
        )
    assert {entry["batch_size"] for entry in batches} >= {1, 2, 40}
    for row in range(3):
        np.testing.assert_allclose(log_probs[row], tiny_log_probs(audio[row]), atol=2e-5)
    np.testing.assert_array_equal(frames, [[49]] * 3)
