"""``acoustic_openvino``: what OpenVINO gives is near what the checkpoint gives, and is installed only if it is."""

import json
import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import numpy_helper
from tritonclient.utils import InferenceServerException

from shrota_client import Client
from shrota_client.score import score_texts
from shrota_export.checkpoint import Checkpoint, find_checkpoint
from shrota_export.cli import export
from shrota_export.engines import make_batch, open_engine
from shrota_export.errors import ExportError, GateError, GateSettingError, RepositoryError
from shrota_export.openvino import export_openvino as module
from shrota_export.openvino.export_openvino import Order, export_openvino
from shrota_export.openvino.runtime import open_model
from shrota_export.openvino.weights import quantized, with_int8_weights
from shrota_export.precision.kinds import Precision, precision_of
from shrota_server import TritonServer
from shrota_server.cli import serve
from shrota_server.errors import EngineError
from shrota_server.openvino_engine import check_openvino_engine
from shrota_testing.checkpoints import make_audio, write_checkpoint
from shrota_testing.files import snapshot
from shrota_testing.precision import load, tiny_graph
from shrota_testing.triton import engine_inputs, infer

FOLDER = Path("acoustic_openvino/1")
LENGTHS = (24000, 3999, 16000, 100)
"""Samples; the last gives no frame."""
MEAN = {Precision.INT8: 0.15, Precision.BF16: 0.15, Precision.FP32: 1e-5}
"""Largest mean difference from float32 in log-probability; float32 gives some 1e-6, the others 0.05."""


@pytest.fixture(scope="module")
def checkpoint(tiny_checkpoint: Path) -> Checkpoint:
    return find_checkpoint(str(tiny_checkpoint))


@pytest.fixture(scope="module")
def only_onnx(tmp_path_factory: pytest.TempPathFactory, export_tiny: Callable[..., None]) -> Path:
    """A repository with the float32 graph; not to be changed."""
    from shrota_testing.repository import copy_repository

    folder = copy_repository(tmp_path_factory.mktemp("onnx") / "model_repository")
    export_tiny(folder)
    return folder


@pytest.fixture(scope="module", params=MEAN, ids=str)
def exported(
    request: pytest.FixtureRequest,
    tmp_path_factory: pytest.TempPathFactory,
    only_onnx: Path,
    tiny_checkpoint: Path,
    speech: Path,
) -> tuple[Path, Precision]:
    """A repository with both engines, by the command line, and the precision; not to be changed."""
    folder = tmp_path_factory.mktemp("openvino") / "model_repository"
    shutil.copytree(only_onnx, folder)
    arguments = ["openvino", str(tiny_checkpoint), "--repository", str(folder), "--manifest", str(speech)]
    if request.param is not Precision.INT8:  # the default
        arguments += ["--precision", str(request.param)]
    export.main(arguments, standalone_mode=False)
    return folder, request.param


def batch() -> tuple[Any, Any]:
    return make_batch([make_audio(length, seed) for seed, length in enumerate(LENGTHS)])


def test_a_batch_of_any_lengths_is_near_what_the_float32_graph_gives(exported: tuple[Path, Precision]) -> None:
    repository, precision = exported
    audio, num_samples = batch()
    engine, description = open_model(repository / FOLDER / "model.xml", precision)
    log_probs, num_frames = engine(audio, num_samples)
    expected, expected_frames = open_engine(repository / "acoustic_onnx/1/model.onnx")(audio, num_samples)
    np.testing.assert_array_equal(num_frames, expected_frames)
    assert num_frames.ravel().tolist() == [74, 12, 49, 0]
    assert log_probs.shape == expected.shape
    for row, frames in enumerate(num_frames.ravel()[:3]):
        assert np.abs(log_probs[row, :frames] - expected[row, :frames]).mean() < MEAN[precision]
        np.testing.assert_allclose(np.exp(log_probs[row, :frames]).sum(axis=-1), 1, atol=0.05)
    if precision is Precision.FP32:
        assert description["precision_here"] == "f32"


def test_a_row_is_the_same_alone(exported: tuple[Path, Precision]) -> None:
    repository, precision = exported
    engine, _ = open_model(repository / FOLDER / "model.xml", precision)
    audio, num_samples = batch()
    together, num_frames = engine(audio, num_samples)
    for row, frames in enumerate(num_frames.ravel()[:3]):
        alone, found = engine(audio[row : row + 1, : LENGTHS[row]].copy(), num_samples[row : row + 1])
        assert found.tolist() == [[frames]]
        difference = np.abs(alone[0] - together[row, :frames])
        assert difference.mean() < (1e-5 if precision is Precision.FP32 else 0.1)


def test_the_manifest_says_what_was_made_of_what_and_how_it_was_judged(
    exported: tuple[Path, Precision], checkpoint: Checkpoint
) -> None:
    repository, precision = exported
    content = json.loads((repository / FOLDER / "manifest.json").read_text(encoding="utf-8"))
    assert content["checkpoint"] == {"name": checkpoint.name, "sha256": checkpoint.sha256}
    assert content["precision"] == str(precision)
    assert content["openvino"]["properties"] == {
        "INFERENCE_PRECISION_HINT": "f32" if precision is Precision.FP32 else "bf16",
        "DYNAMIC_QUANTIZATION_GROUP_SIZE": "512" if precision is Precision.INT8 else "0",
    }
    assert content["gate"]["failures"] == []
    for name, file in content["files"].items():
        assert (repository / FOLDER / name).stat().st_size == file["bytes"]
    assert sorted(content["files"]) == ["model.bin", "model.xml"]


def test_int8_weights_make_the_file_smaller(exported: tuple[Path, Precision]) -> None:
    """Of the tiny model's file, a good part is not weights of products."""
    repository, precision = exported
    size = (repository / FOLDER / "model.bin").stat().st_size
    float32 = (repository / "acoustic_onnx/1/model.onnx").stat().st_size
    assert size < (0.4 if precision is Precision.INT8 else 0.9) * float32


@pytest.mark.triton
def test_triton_serves_it_beside_the_other_engine_and_the_transcripts_are_the_same(
    exported: tuple[Path, Precision],
) -> None:
    repository, precision = exported
    if precision is Precision.BF16:
        pytest.skip("it takes the same way as int8")
    utterances = [make_audio(length, seed) for seed, length in enumerate((20000, 31000, 8000))]
    names = ("acoustic_openvino", "acoustic_onnx")
    with (
        TritonServer(repository, models=["asr", *names], default_engine="acoustic_openvino") as server,
        Client(server.grpc_url) as client,
    ):
        texts = {
            name: [client.transcribe(one, parameters={"engine": name}).text for one in utterances] for name in names
        }
        assert [client.transcribe(one).text for one in utterances] == texts["acoustic_openvino"]
        row = utterances[0][None]
        served = infer(server.grpc_url, "acoustic_openvino", engine_inputs(row), ["LOG_PROBS", "NUM_FRAMES"])
        with pytest.raises(InferenceServerException, match=r"OpenVINO: AUDIO is \[1, 100\]: the model takes") as caught:
            infer(server.grpc_url, "acoustic_openvino", engine_inputs(row[:, :100]), ["LOG_PROBS"])
        after = infer(server.grpc_url, "acoustic_openvino", engine_inputs(row), ["LOG_PROBS"])
    assert caught.value.status() == "StatusCode.INVALID_ARGUMENT"
    assert "\n" not in str(caught.value)
    assert all(texts["acoustic_onnx"])
    score = score_texts(zip(texts["acoustic_onnx"], texts["acoustic_openvino"], strict=True)).characters.value
    # random weights: now and then two tokens are equally likely, and rounding decides
    assert score <= (0 if precision is Precision.FP32 else 0.1)
    engine, _ = open_model(repository / FOLDER / "model.xml", precision)
    expected, frames = engine(row, np.array([[row.shape[1]]], np.int32))
    np.testing.assert_array_equal(served[1], frames)
    assert np.abs(served[0] - expected).mean() < (1e-5 if precision is Precision.FP32 else 0.05)
    np.testing.assert_array_equal(after[0], served[0])


def test_what_the_gate_refuses_is_not_installed(
    only_onnx: Path, checkpoint: Checkpoint, speech: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    repository = tmp_path / "model_repository"
    shutil.copytree(only_onnx, repository)
    before = snapshot(repository)

    def corrupted(model: onnx.ModelProto) -> onnx.ModelProto:
        made = with_int8_weights(model)
        for tensor in made.graph.initializer:
            if tensor.name.endswith("/scales"):
                tensor.CopyFrom(numpy_helper.from_array(-3 * numpy_helper.to_array(tensor), tensor.name))
        return made

    monkeypatch.setattr(module, "with_int8_weights", corrupted)
    with pytest.raises(GateError, match="acoustic_openvino, int8"):
        export_openvino(checkpoint, repository, Order(Precision.INT8, speech))
    assert snapshot(repository) == before


def test_another_threshold_of_the_gate_counts(
    only_onnx: Path, checkpoint: Checkpoint, speech: Path, tmp_path: Path
) -> None:
    repository = tmp_path / "model_repository"
    shutil.copytree(only_onnx, repository)
    before = snapshot(repository)
    with pytest.raises(GateError, match=r"differ on average by .*, more than 1e-06"):
        export_openvino(checkpoint, repository, Order(Precision.INT8, speech, ("mean_difference=1e-6",)))
    with pytest.raises(GateSettingError, match="no threshold 'mean'"):
        export_openvino(checkpoint, repository, Order(Precision.INT8, speech, ("mean=1",)))
    assert snapshot(repository) == before


def test_without_the_package_one_line_says_what_to_install(
    only_onnx: Path, checkpoint: Checkpoint, speech: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "openvino", None)
    before = snapshot(only_onnx)
    with pytest.raises(
        ExportError, match=r"^the package openvino is not installed .*`pip install openvino`$"
    ) as caught:
        export_openvino(checkpoint, only_onnx, Order(Precision.INT8, speech))
    assert "\n" not in str(caught.value)
    assert snapshot(only_onnx) == before


def test_a_repository_of_another_checkpoint_is_refused(
    only_onnx: Path, repository: Path, checkpoint: Checkpoint, speech: Path, tmp_path: Path
) -> None:
    other = find_checkpoint(str(write_checkpoint(tmp_path / "other", hidden_size=48)))
    with pytest.raises(RepositoryError, match=r"has another checkpoint: run `shrota export onnx .*other` first"):
        export_openvino(other, only_onnx, Order(Precision.INT8, speech))
    with pytest.raises(RepositoryError, match="has no checkpoint"):
        export_openvino(checkpoint, repository, Order(Precision.INT8, speech))
    (repository / "acoustic_openvino" / "config.pbtxt").unlink()
    with pytest.raises(RepositoryError, match=r"lacks acoustic_openvino/config\.pbtxt"):
        export_openvino(checkpoint, repository, Order(Precision.INT8, speech))


def test_serve_refuses_an_engine_of_another_checkpoint(
    exported: tuple[Path, Precision], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("shutil.which", lambda _: None)
    check_openvino_engine(exported[0])
    repository = tmp_path / "model_repository"
    shutil.copytree(exported[0], repository)
    manifest = repository / FOLDER / "manifest.json"
    content = json.loads(manifest.read_text(encoding="utf-8"))
    content["checkpoint"]["sha256"] = "0" * 64
    manifest.write_text(json.dumps(content), encoding="utf-8")
    with pytest.raises(EngineError, match=r"is of another checkpoint .*: run shrota export openvino CHECKPOINT"):
        check_openvino_engine(repository)
    manifest.unlink()
    with pytest.raises(EngineError, match="no engine at"):
        check_openvino_engine(repository)


def test_the_command_refuses_to_serve_what_was_not_exported(only_onnx: Path) -> None:
    with pytest.raises(
        EngineError, match=r"^no engine at .*/acoustic_openvino/1: run shrota export openvino CHECKPOINT"
    ):
        serve.main(["--repository", str(only_onnx), "--engine", "acoustic_openvino"], standalone_mode=False)


def test_serve_says_that_the_package_is_missing_unless_triton_brings_its_own_backend(
    exported: tuple[Path, Precision], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("shrota_server.openvino_engine.PACKAGE", "no_such_package")
    monkeypatch.setattr("shutil.which", lambda _: None)
    with pytest.raises(EngineError, match=r"needs the package openvino, .*: run `pip install openvino`$"):
        check_openvino_engine(exported[0])
    monkeypatch.setattr("shutil.which", lambda _: "/opt/tritonserver/bin/tritonserver")
    check_openvino_engine(exported[0])


def test_weights_of_products_become_8_bits_with_a_scale_for_each_output() -> None:
    graph = load(tiny_graph())
    before = graph.SerializeToString(deterministic=True)
    made = with_int8_weights(graph)
    assert graph.SerializeToString(deterministic=True) == before
    assert precision_of(made) is Precision.INT8
    onnx.checker.check_model(made)
    values = {tensor.name: numpy_helper.to_array(tensor) for tensor in made.graph.initializer}
    old = {tensor.name: numpy_helper.to_array(tensor) for tensor in graph.graph.initializer}
    found = [node for node in made.graph.node if node.op_type == "DequantizeLinear"]
    # two layers with four products of attention and two of the feed-forward part, projection and head
    assert len(found) == 2 * 6 + 2
    for node in found:
        matrix, scales = (values[name] for name in node.input)
        weights = old[node.input[0].removesuffix("/int8")]
        assert matrix.dtype == np.int8
        assert scales.shape == weights.shape[1:]
        assert np.abs(matrix * scales - weights).max(axis=0) == pytest.approx(0, abs=scales.max() * 0.51)
        assert node.input[0].removesuffix("/int8") not in values


def test_a_column_of_zeros_stays_zero_and_the_range_is_symmetric() -> None:
    matrix = np.array([[0, -2, 1], [0, 1, -1]], np.float32)
    values, scales = quantized(matrix)
    np.testing.assert_array_equal(values, [[0, -127, 127], [0, 64, -127]])
    np.testing.assert_allclose(scales, [1, 2 / 127, 1 / 127], rtol=1e-6)
