"""A model file that is missing, broken or foreign is refused in one line that names it and the remedy."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from shrota_contract import Contract, EngineFileError, TensorSpec
from shrota_onnxruntime import session
from shrota_onnxruntime.session import one_line, open_session, run_options
from shrota_onnxruntime.settings import Settings
from shrota_testing.engines import tiny_log_probs, write_tiny_engine


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    path = tmp_path / "model.onnx"
    write_tiny_engine(path)
    return Settings(
        model_path=path,
        contract=Contract(
            inputs={"AUDIO": TensorSpec("TYPE_FP32", (-1,)), "NUM_SAMPLES": TensorSpec("TYPE_INT32", (1,))},
            outputs={"LOG_PROBS": TensorSpec("TYPE_FP32", (-1, 68)), "NUM_FRAMES": TensorSpec("TYPE_INT32", (1,))},
            max_batch_size=64,
        ),
        intra_op_threads=1,
    )


def test_a_good_file_opens_and_runs(settings: Settings) -> None:
    opened = open_session(settings)
    audio = np.random.default_rng(1).normal(0, 1, (1, 4000)).astype(np.float32)
    feeds = {"AUDIO": audio, "NUM_SAMPLES": np.array([[4000]], np.int32)}
    (log_probs,) = opened.run(["LOG_PROBS"], feeds, run_options(settings))
    np.testing.assert_allclose(log_probs[0], tiny_log_probs(audio[0]), atol=1e-4)


def test_a_gpu_instance_without_a_gpu_runs_on_the_cpu(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(session, "cuda_is_available", lambda: False)
    opened = open_session(replace(settings, device_id=0, cuda_options={"use_tf32": "0"}))
    assert opened.get_providers() == ["CPUExecutionProvider"]


def test_a_gpu_instance_runs_in_full_precision_on_its_own_gpu(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(session, "cuda_is_available", lambda: True)
    on_gpu = replace(settings, device_id=3, cuda_options={"use_tf32": "0"})
    expected = [("CUDAExecutionProvider", {"device_id": "3", "use_tf32": "0"}), "CPUExecutionProvider"]
    assert session.providers(on_gpu) == expected
    assert session.providers(settings) == ["CPUExecutionProvider"]


def test_a_missing_file(settings: Settings) -> None:
    settings.model_path.unlink()
    with pytest.raises(EngineFileError, match=r"^no engine at .*model\.onnx: run `shrota export onnx CHECKPOINT`$"):
        open_session(settings)


@pytest.mark.parametrize("size", [0, 1, 5000])
def test_a_truncated_file(settings: Settings, size: int) -> None:
    settings.model_path.write_bytes(settings.model_path.read_bytes()[:size])
    with pytest.raises(
        EngineFileError, match=r"^.*model\.onnx (cannot be read|does not fit).*`shrota export onnx"
    ) as caught:
        open_session(settings)
    assert "\n" not in str(caught.value)


def test_a_file_that_is_no_graph(settings: Settings) -> None:
    settings.model_path.write_text("<html>not found</html>", encoding="utf-8")
    with pytest.raises(EngineFileError, match="cannot be read as an ONNX graph"):
        open_session(settings)


def test_another_vocabulary(settings: Settings) -> None:
    write_tiny_engine(settings.model_path, vocabulary_size=32)
    expected = r"does not fit config\.pbtxt \(output LOG_PROBS has shape \[any, any, 32\], not \[any, any, 68\]\)"
    with pytest.raises(EngineFileError, match=expected):
        open_session(settings)


@pytest.mark.parametrize(
    ("inputs", "text"),
    [
        ({"AUDIO": TensorSpec("TYPE_FP16", (-1,))}, r"input AUDIO is tensor\(float\), not tensor\(float16\)"),
        ({"AUDIO": TensorSpec("TYPE_FP32", (-1, -1))}, r"AUDIO has shape \[any, any\], not \[any, any, any\]"),
        ({"SPEECH": TensorSpec("TYPE_FP32", (-1,))}, "it has no input SPEECH, but AUDIO, NUM_SAMPLES"),
        ({"AUDIO": TensorSpec("TYPE_FP32", (-1,))}, "it needs an input NUM_SAMPLES that is not declared"),
    ],
)
def test_other_inputs(settings: Settings, inputs: dict[str, TensorSpec], text: str) -> None:
    with pytest.raises(EngineFileError, match=text):
        open_session(replace(settings, contract=replace(settings.contract, inputs=inputs)))


def test_onnxruntime_s_errors_become_one_short_line() -> None:
    error = RuntimeError("[ONNXRuntimeError] : 6 : RUNTIME_EXCEPTION : Non-zero status\ncode" + "x" * 1000)
    line = one_line(error)
    assert line.startswith("Non-zero status codexxx")
    assert len(line) == 300
