"""Attention as one node of ONNX Runtime's: what is recognised, what it gives, where it is used."""

import json
from collections.abc import Callable
from pathlib import Path

import click
import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import TensorProto

from shrota_export.cli import export
from shrota_export.engines import make_batch, open_engine
from shrota_export.errors import GraphError, PlanError
from shrota_export.exporters import Exporter, export_graph
from shrota_export.graph.engine import AcousticEngine, Target
from shrota_export.paths import MANIFEST, MODEL
from shrota_export.precision.attention import (
    LENGTHS,
    MASK,
    ROWS,
    for_processors,
    fuse_attention,
    has_fused_attention,
    is_for_gpus,
)
from shrota_export.precision.convert import convert
from shrota_export.precision.emulation import emulate
from shrota_export.precision.graphs import layer_of
from shrota_export.precision.install import make
from shrota_export.precision.kinds import Precision
from shrota_export.tensorrt.graphs import Precision as PlanPrecision
from shrota_export.tensorrt.graphs import check_precision, read_graph
from shrota_testing.checkpoints import make_audio, make_model
from shrota_testing.precision import drop_mask, load, outgrown_graph, speech, subject, tiny_graph
from shrota_testing.repository import copy_repository
from shrota_testing.windows import shorten_windows

RECOGNISED = {"wav2vec2": 2, "wav2vec2 without stable layer norm": 2, "hubert": 2, "data2vec": 2, "wavlm": 0}


@pytest.fixture(autouse=True)
def windows(monkeypatch: pytest.MonkeyPatch) -> None:
    shorten_windows(monkeypatch)


def fused_nodes(graph: onnx.ModelProto) -> list[onnx.NodeProto]:
    return [node for node in graph.graph.node if node.op_type == "MultiHeadAttention"]


@pytest.mark.parametrize(
    ("family", "exporter", "opset"),
    [*((family, Exporter.TORCHSCRIPT, 17) for family in RECOGNISED), ("wav2vec2", Exporter.DYNAMO, 20)],
)
def test_it_gives_the_same_also_beside_padding(family: str, exporter: Exporter, opset: int, tmp_path: Path) -> None:
    engine = AcousticEngine(make_model(family), normalize=True, target=Target.GPU).eval()
    plain = export_graph(engine, tmp_path / "model.onnx", exporter, opset)
    graph = fuse_attention(plain)
    assert len(fused_nodes(graph)) == RECOGNISED[family]
    assert sum(node.op_type == "Softmax" for node in graph.graph.node) == 2 - RECOGNISED[family]
    batch = make_batch([make_audio(16000), make_audio(9000, 1), make_audio(399, 2)])  # the last has no frame
    expected, frames = open_engine(plain.SerializeToString())(*batch)
    found, same_frames = open_engine(graph.SerializeToString())(*batch)
    np.testing.assert_array_equal(frames, same_frames)
    assert np.isfinite(found).all()
    for row, other, (count,) in zip(found, expected, frames, strict=True):
        np.testing.assert_allclose(row[:count], other[:count], atol=2e-5)


def test_a_graph_without_the_mask_is_left_alone() -> None:
    graph = load(tiny_graph())
    drop_mask(graph)
    assert fuse_attention(graph) is graph


def test_an_attention_of_which_a_node_must_stay_is_left_alone() -> None:
    graph = fuse_attention(load(tiny_graph()), ["/layers.1/attention/MatMul"])
    assert [node.name for node in fused_nodes(graph)] == ["/layers.0/attention/MultiHeadAttention"]


def test_it_is_low_in_float16_and_plain_in_bfloat16() -> None:
    assert not has_fused_attention(convert(load(tiny_graph()), Precision.BF16, {}, fused=True))
    graph = convert(load(tiny_graph()), Precision.FP16, {}, fused=True)
    producers = {name: node for node in graph.graph.node for name in node.output}
    low = {tensor.name for tensor in graph.graph.initializer if tensor.data_type == TensorProto.FLOAT16}
    assert len(fused_nodes(graph)) == 2
    for node in fused_nodes(graph):
        assert node.input[4] == "MultiHeadAttention/lengths"
        for name in node.input[:3]:  # biases of the projections
            assert producers[name].op_type == "Add"
            assert low.intersection(producers[name].input)
        (user,) = (each for each in graph.graph.node if node.output[0] in each.input)
        assert (user.op_type, user.name.rpartition("/")[2]) == ("MatMul", "MatMul")
        assert low.intersection(user.input)
    assert not any(node.op_type == "Softmax" for node in graph.graph.node)


@pytest.mark.parametrize("source", [tiny_graph, outgrown_graph])
def test_the_gate_passes_it(source: Callable[[], bytes]) -> None:
    """Also where the residual stream is beyond float16: scores are not, so that attention may be low and fused."""
    reference = subject("fp32", load(source()))
    made = make(load(source()), reference, Precision.FP16, speech(reference), fused=True)
    assert made.report.passed
    assert has_fused_attention(made.graph)
    assert made.as_dict()["fused_attention"] is True


def test_scores_beyond_float16_keep_their_layer_plain() -> None:
    graph = load(tiny_graph())
    ranges = {"/layers.0/attention/MatMul_output_0": 60000.0}
    found = convert(graph, Precision.FP16, ranges, fused=True)
    assert [node.name for node in fused_nodes(found)] == ["/layers.1/attention/MultiHeadAttention"]
    assert "/layers.0/attention/Softmax" in {node.name for node in found.graph.node}


@pytest.fixture(scope="module")
def for_gpus(export_tiny: Callable[..., None], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A repository with the tiny checkpoint, exported for GPUs."""
    folder = copy_repository(tmp_path_factory.mktemp("gpus") / "model_repository")
    export_tiny(folder, "--target", "gpu")
    return folder


def run(for_gpus: Path, manifest: Path, *options: str) -> onnx.ModelProto:
    export.main(["precision", str(for_gpus / MODEL), "--manifest", str(manifest), *options], standalone_mode=False)
    return onnx.load(for_gpus / MODEL)


def test_an_export_for_gpus_says_so(for_gpus: Path) -> None:
    manifest = json.loads((for_gpus / MANIFEST).read_text(encoding="utf-8"))
    assert manifest["settings"]["target"] == "gpu"
    assert manifest["graph"]["Conv"] == 0
    assert is_for_gpus(onnx.load(for_gpus / MODEL))
    assert not is_for_gpus(load(tiny_graph()))


def test_another_target_exports_again(
    for_gpus: Path, export_tiny: Callable[..., None], capsys: pytest.CaptureFixture[str]
) -> None:
    export_tiny(for_gpus, "--target", "gpu")
    assert "already exported" in capsys.readouterr().err
    export_tiny(for_gpus)  # as the last time
    assert "already exported" in capsys.readouterr().err
    export_tiny(for_gpus, "--target", "cpu")
    assert "already exported" not in capsys.readouterr().err
    assert any(node.op_type == "Conv" for node in onnx.load(for_gpus / MODEL).graph.node)
    export_tiny(for_gpus, "--target", "gpu")


def test_attention_is_fused_in_graphs_for_gpus_unless_it_shall_be_plain(for_gpus: Path, speech: Path) -> None:
    assert len(fused_nodes(run(for_gpus, speech, "--to", "fp16"))) == 2
    with pytest.raises(PlanError, match=r"a form that TensorRT does not know: make its twin with `shrota export prec"):
        check_precision(read_graph(for_gpus / MODEL), PlanPrecision.FP16)
    with pytest.raises(PlanError, match=r"a form that TensorRT does not know: give the fp32 graph$"):
        check_precision(read_graph(for_gpus / MODEL), PlanPrecision.TF32)
    plain = run(for_gpus, speech, "--to", "fp16", "--attention", "plain")
    assert not has_fused_attention(plain)
    check_precision(read_graph(for_gpus / MODEL), PlanPrecision.FP16)
    assert not has_fused_attention(run(for_gpus, speech, "--to", "fp32"))


def test_the_mask_says_how_many_frames_are_valid_and_where_rows_start() -> None:
    """Never more than there are, whatever NUM_SAMPLES says: on a GPU the kernel would read its neighbours."""
    graph = fuse_attention(load(tiny_graph()))
    graph.graph.output.append(onnx.helper.make_tensor_value_info(LENGTHS, TensorProto.INT32, None))
    session = onnxruntime.InferenceSession(graph.SerializeToString(), providers=["CPUExecutionProvider"])
    audio = np.stack([make_audio(16000)] * 4)
    num_samples = np.array([[16000], [399], [720], [2_000_000_000]], np.int32)
    (mask,) = session.run([LENGTHS], {"AUDIO": audio, "NUM_SAMPLES": num_samples})
    starts = [0, 49, 98, 147, 196]
    assert mask.tolist() == [49, 1, 2, 49, *starts, *starts]


def test_a_processor_gets_the_mask_without_starts() -> None:
    graph = fuse_attention(load(tiny_graph()))
    for node in graph.graph.node:
        for_processors(node)
    assert {node.input[MASK] for node in fused_nodes(graph)} == {ROWS}
    emulated = emulate(convert(load(tiny_graph()), Precision.FP16, {}, fused=True))
    assert {node.input[MASK] for node in fused_nodes(emulated)} == {ROWS}


def test_what_cannot_be_fused_or_quantised_is_said(for_gpus: Path, speech: Path) -> None:
    with pytest.raises(click.UsageError, match="--attention fused is for fp16"):
        run(for_gpus, speech, "--to", "int8", "--attention", "fused")
    with pytest.raises(GraphError, match=r"int8 is for processors, .*: `shrota export onnx` it with --target cpu"):
        run(for_gpus, speech, "--to", "int8")


def test_it_is_said_how_much_is_fused(for_gpus: Path, speech: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run(for_gpus, speech, "--to", "fp16")
    assert "attention as one node of ONNX Runtime's: 2 of 2 layers" in capsys.readouterr().err
    run(for_gpus, speech, "--to", "fp32")


def test_layers_of_the_extractor_are_told_apart() -> None:
    names = ("/products/convolutions.3/MatMul_1", "/products/norms.3/LayerNormalization", "/products/activations.3/Erf")
    assert {layer_of(name) for name in names} == {"feature_extractor.3"}
