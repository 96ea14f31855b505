"""``shrota export ranges`` and ``precision``: what becomes low, what stays float32, and what is installed."""

import errno
import json
import warnings
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import TensorProto

from shrota_export.cli import export
from shrota_export.engines import open_engine, run_rows
from shrota_export.errors import GateError, GraphError, RepositoryError
from shrota_export.gate import check, open_subject
from shrota_export.precision import graphs
from shrota_export.precision.convert import convert
from shrota_export.precision.emulation import emulate
from shrota_export.precision.graphs import constants, float_tensors, layer_of
from shrota_export.precision.install import make, write
from shrota_export.precision.int8 import quantizable_nodes, to_int8
from shrota_export.precision.kinds import FLOAT16_MAX, GRAPH_PRECISIONS, Precision, precision_of
from shrota_export.precision.mixed import MARGIN, to_mixed, unsafe_nodes
from shrota_export.precision.ranges import by_layer, measure_ranges, plot, table
from shrota_export.precision.search import minimize, search
from shrota_testing.checkpoints import make_audio
from shrota_testing.files import snapshot
from shrota_testing.precision import STREAM_SCALE, change_weight, load, outgrown_graph, speech, subject, tiny_graph
from shrota_testing.repository import copy_repository
from shrota_testing.windows import shorten_windows

LOW_TYPES = {Precision.FP16: TensorProto.FLOAT16, Precision.BF16: TensorProto.BFLOAT16}


@pytest.fixture(autouse=True)
def windows(monkeypatch: pytest.MonkeyPatch) -> None:
    shorten_windows(monkeypatch)


def types_of(graph: onnx.ModelProto) -> dict[str, int]:
    inferred = onnx.shape_inference.infer_shapes(graph, strict_mode=True)
    return {value.name: value.type.tensor_type.elem_type for value in inferred.graph.value_info}


@pytest.mark.parametrize("precision", [Precision.FP16, Precision.BF16])
def test_what_is_low_and_what_is_not(precision: Precision) -> None:
    graph = to_mixed(load(tiny_graph()), precision)
    onnx.checker.check_model(graph, full_check=True)
    types = types_of(graph)
    low = {node.op_type for node in graph.graph.node if types.get(node.output[0]) == LOW_TYPES[precision]}
    high = {node.op_type for node in graph.graph.node if types.get(node.output[0]) == TensorProto.FLOAT}
    assert {"MatMul", "Conv", "Erf", "Transpose", "Reshape"} <= low
    assert {"LayerNormalization", "Softmax", "ReduceSum", "Sqrt"} <= high
    assert not low & {"LayerNormalization", "Softmax", "LogSoftmax", "ReduceSum", "Sqrt", "Where", "Pow"}
    assert not high & {"MatMul", "Conv"}
    assert types["/layers.0/Add_output_0"] == TensorProto.FLOAT  # the residual stream
    for values in (graph.graph.input, graph.graph.output):
        kinds = {value.name: value.type.tensor_type.elem_type for value in values}
        assert set(kinds.values()) == {TensorProto.FLOAT, TensorProto.INT32}
    assert precision_of(graph) is precision


def test_each_node_has_inputs_of_one_float_type() -> None:
    """What a strongly typed network needs."""
    graph = to_mixed(load(tiny_graph()), Precision.FP16)
    types = types_of(graph) | {name: tensor.data_type for name, tensor in constants(graph).items()}
    floats = {TensorProto.FLOAT, TensorProto.FLOAT16}
    for node in graph.graph.node:
        assert len({types[name] for name in node.input if name in types} & floats) <= 1, node.name
    casts = Counter(node.input[0] for node in graph.graph.node if node.op_type == "Cast")
    assert max(casts.values()) == 1
    assert not [name for name in constants(graph) if not any(name in node.input for node in graph.graph.node)]


def test_onnx_runtime_loads_the_fp16_graph() -> None:
    graph = to_mixed(load(tiny_graph()), Precision.FP16)
    session = onnxruntime.InferenceSession(graph.SerializeToString(), providers=["CPUExecutionProvider"])
    feed = {"AUDIO": make_audio(8000)[None], "NUM_SAMPLES": np.array([[8000]], np.int32)}
    log_probs, num_frames = session.run(None, feed)
    assert (log_probs.dtype, num_frames.tolist()) == (np.float32, [[24]])


def test_the_source_is_left_as_it_was() -> None:
    source = load(tiny_graph())
    for precision in (Precision.INT8, Precision.FP16, Precision.BF16):
        convert(source, precision, {})
        assert precision_of(source) is Precision.FP32
        assert source.graph.initializer == load(tiny_graph()).graph.initializer


@pytest.mark.parametrize(
    ("precision", "numpy_type"), [(Precision.FP16, np.float16), (Precision.BF16, ml_dtypes.bfloat16)]
)
def test_emulation_rounds_each_low_tensor(precision: Precision, numpy_type: Any) -> None:
    graph = emulate(to_mixed(load(tiny_graph()), precision))
    assert not {tensor.data_type for tensor in graph.graph.initializer} & set(LOW_TYPES.values())
    name = "/layers.0/feed_forward/intermediate_dense/Add_output_0"
    graph.graph.output.append(onnx.helper.make_tensor_value_info(name, TensorProto.FLOAT, None))
    session = onnxruntime.InferenceSession(graph.SerializeToString(), providers=["CPUExecutionProvider"])
    (values,) = session.run([name], {"AUDIO": make_audio(8000)[None], "NUM_SAMPLES": np.array([[8000]], np.int32)})
    np.testing.assert_array_equal(values, values.astype(numpy_type).astype(np.float32))
    assert emulate(load(tiny_graph())).SerializeToString() == load(tiny_graph()).SerializeToString()


def test_a_low_graph_is_not_converted_again() -> None:
    graph = to_mixed(load(tiny_graph()), Precision.FP16)
    for precision in (Precision.INT8, Precision.BF16):
        with pytest.raises(GraphError, match="the graph is fp16 already: convert the float32 graph"):
            convert(graph, precision, {})
    assert precision_of(to_int8(load(tiny_graph()))) is Precision.INT8


def test_ranges_are_what_a_run_gives() -> None:
    graph = load(tiny_graph())
    spoken = speech()
    ranges = measure_ranges(graph, spoken)
    assert set(ranges) == {"AUDIO", *float_tensors(graph)}
    assert ranges["AUDIO"] == pytest.approx(max(float(np.abs(each.windows[0]).max()) for each in spoken))
    engine = open_engine(tiny_graph())
    expected = max(float(np.abs(run_rows(engine, each.windows)[0]).max()) for each in spoken)
    assert ranges["LOG_PROBS"] == pytest.approx(expected, rel=1e-5)


def test_the_mixed_graph_of_an_outgrown_stream_passes() -> None:
    """Its naive conversion is NaN, see the gate's tests."""
    source = load(outgrown_graph())
    ranges = measure_ranges(source, speech())
    assert max(ranges["/layers.1/Add_1_output_0"], ranges["/layers.0/Add_output_0"]) > FLOAT16_MAX
    unsafe = unsafe_nodes(source, ranges)
    assert "/layers.1/feed_forward/output_dense/MatMul" in unsafe
    assert "/layers.1/feed_forward/intermediate_dense/MatMul" not in unsafe
    assert all(magnitude > FLOAT16_MAX / MARGIN for magnitude in unsafe.values())
    graph = to_mixed(source, Precision.FP16, set(unsafe))
    report = check(subject("mixed", graph), subject("float32", source), speech())
    assert report.passed, report.lines()
    unguarded = check(subject("unguarded", to_mixed(source, Precision.FP16)), subject("float32", source), speech())
    assert not unguarded.passed


def test_a_weight_that_float16_does_not_hold_stays() -> None:
    """A weight is known exactly, so it may use all of float16."""
    graph = load(tiny_graph())
    name = "/layers.1/attention/q_proj/MatMul"
    for largest, unsafe in ((60000.0, False), (70000.0, True)):
        change_weight(graph, name, lambda values, largest=largest: values * (largest / np.abs(values).max()))  # type: ignore[misc]
        assert (name in unsafe_nodes(graph, {})) is unsafe
    with pytest.raises(GraphError, match="does not fit into fp16: keep the nodes that use it"):
        to_mixed(graph, Precision.FP16)
    to_mixed(graph, Precision.FP16, {name})


def test_the_table_and_the_plot(tmp_path: Path) -> None:
    ranges = measure_ranges(load(outgrown_graph()), speech())
    rows = {row.layer: row for row in by_layer(ranges)}
    assert {"normalizer", "feature_extractor.0", "feature_projection", "layers.0", "layers.1", "head"} <= set(rows)
    assert rows["layers.1"].headroom < 1
    lines = table(ranges)
    assert any(line.startswith("layers.1") and line.endswith("<- float32") for line in lines)
    assert not any(line.startswith("head") and line.endswith("<- float32") for line in lines)
    plot(ranges, tmp_path / "ranges.svg")
    assert "65,504" in (tmp_path / "ranges.svg").read_text(encoding="utf-8").replace("<!-- ", "")


def test_layers() -> None:
    assert layer_of("/layers.3/attention/MatMul_output_0") == "layers.3"
    assert layer_of("/feature_extractor.0/conv/Conv") == "feature_extractor.0"
    assert layer_of("/head/MatMul") == "head"
    assert layer_of("LOG_PROBS") == layer_of("/Mul_1_output_0") == "graph"


@pytest.mark.parametrize("blamed", [{7}, {0, 9}, {3, 4}, set(range(10))])
def test_the_smallest_set_is_found(blamed: set[int]) -> None:
    trials: list[set[str]] = []

    def passes(parts: Any) -> bool:
        trials.append(set(parts))
        return {str(part) for part in blamed} <= set(parts)

    assert minimize([str(part) for part in range(10)], passes) == [str(part) for part in sorted(blamed)]
    assert len(trials) < 60


def test_the_search_bisects_layers_then_nodes() -> None:
    source = load(tiny_graph())
    culprit = "/layers.1/attention/v_proj/MatMul"
    found = search(source, Precision.FP16, lambda keep: culprit in keep)
    assert found is not None
    assert (found.layers, found.nodes) == (("layers.1",), (culprit,))
    assert found.trials < 40
    assert search(source, Precision.INT8, lambda _: False) is None


def test_int8_rows_do_not_depend_on_neighbours() -> None:
    """A loud neighbour and padding leave a row's numbers as they are; with a scale for the whole tensor they do not."""
    from onnxruntime.quantization import QuantType, quantize_dynamic

    source = load(tiny_graph())
    assert len(quantizable_nodes(source)) == 14 + 6  # products, and convolutions of the extractor
    report = check(subject("int8", to_int8(source)), subject("float32", source), speech())
    assert report.passed, report.lines()
    assert 0 < report.cases["alone"].mean < 0.2
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        usual = _quantize_dynamic(source, lambda old, new: quantize_dynamic(old, new, weight_type=QuantType.QInt8))
    whole = check(subject("whole tensor", usual), subject("float32", source), speech())
    ours, theirs = (max(each.mean for each in found.invariance.values()) for found in (report, whole))
    assert ours < theirs / 3


def _quantize_dynamic(source: onnx.ModelProto, quantize: Callable[[Path, Path], None]) -> onnx.ModelProto:
    import tempfile

    with tempfile.TemporaryDirectory() as folder:
        old, new = Path(folder) / "old.onnx", Path(folder) / "new.onnx"
        onnx.save(source, old)
        quantize(old, new)
        return onnx.load(new)


def convolution(kernel: int, stride: int, **settings: Any) -> onnx.ModelProto:
    """AUDIO [B, 24, T] -> LOG_PROBS [B, 40, F]."""
    helper = onnx.helper
    random = np.random.default_rng(kernel)
    kernels = random.normal(0, 1, (40, 24, kernel)).astype(np.float32)
    constants = [
        onnx.numpy_helper.from_array(kernels, "kernels"),
        onnx.numpy_helper.from_array(random.normal(0, 1, 40).astype(np.float32), "bias"),
    ]
    graph = helper.make_graph(
        [helper.make_node("Conv", ["AUDIO", "kernels", "bias"], ["LOG_PROBS"], strides=[stride], **settings)],
        "convolution",
        [helper.make_tensor_value_info("AUDIO", TensorProto.FLOAT, ["B", 24, "T"])],
        [helper.make_tensor_value_info("LOG_PROBS", TensorProto.FLOAT, ["B", 40, "F"])],
        constants,
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)


def run_graph(graph: onnx.ModelProto, audio: Any) -> Any:
    session = onnxruntime.InferenceSession(graph.SerializeToString(), providers=["CPUExecutionProvider"])
    return session.run(["LOG_PROBS"], {"AUDIO": audio})[0]


@pytest.mark.parametrize(("kernel", "stride"), [(3, 2), (2, 2), (4, 2), (7, 3), (3, 1), (5, 4)])
@pytest.mark.parametrize("length", [41, 42, 43, 44])
def test_a_convolution_in_int8(kernel: int, stride: int, length: int) -> None:
    """As in float32 but for rounding to 8 and 7 bits, whatever is left over at the end, and row by row."""
    source = convolution(kernel, stride)
    graph = to_int8(source)
    assert not [node for node in graph.graph.node if node.op_type == "Conv"]
    random = np.random.default_rng(length)
    audio = random.normal(0, 1, (2, 24, length)).astype(np.float32)
    audio[:, :, length // 2 :] *= 1e-4  # quiet frames have a scale of their own
    expected, found = run_graph(source, audio), run_graph(graph, audio)
    assert found.shape == expected.shape
    signal = expected - run_graph(source, np.zeros_like(audio))  # without the bias
    loud, quiet = (length // 2 - kernel) // stride + 1, -(-(length // 2) // stride)
    for rows in (slice(0, loud), slice(quiet, None)):
        assert np.abs(found - expected)[:, :, rows].mean() < 0.02 * signal[:, :, rows].std()
    # the last row of a shorter utterance, beside loud padding
    end = (expected.shape[2] - 3) * stride + kernel
    louder = audio.copy()
    louder[:, :, end:] *= 1e6
    np.testing.assert_array_equal(run_graph(graph, louder)[:, :, : expected.shape[2] - 2], found[:, :, :-2])


@pytest.mark.parametrize("settings", [{"pads": [1, 1]}, {"dilations": [2]}, {"auto_pad": "SAME_UPPER"}])
def test_other_convolutions_stay_float32(settings: dict[str, Any]) -> None:
    source = convolution(3, 2, **settings)
    assert quantizable_nodes(source) == []
    assert quantizable_nodes(convolution(3, 4)) == []  # rows that do not touch


def test_int8_from_opset_18_on() -> None:
    """The axes of a reduction are an input there."""
    source = onnx.version_converter.convert_version(load(tiny_graph()), 18)
    graph = to_int8(source)
    onnx.checker.check_model(graph, full_check=True)
    audio = make_audio(8000)
    rows = [
        run_rows(open_engine(each.SerializeToString()), [audio])[0] for each in (graph, to_int8(load(tiny_graph())))
    ]
    np.testing.assert_allclose(rows[0], rows[1], atol=1e-3)


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory, export_tiny: Callable[..., None]) -> Path:
    folder = copy_repository(tmp_path_factory.mktemp("precision") / "model_repository")
    export_tiny(folder)
    return folder


def run_precision(repository: Path, manifest: Path, *options: str) -> None:
    graph = str(repository / "acoustic_onnx" / "1" / "model.onnx")
    export.main(["precision", graph, "--manifest", str(manifest), *options], standalone_mode=False)


def test_it_is_installed_and_put_back(
    installed: Path, speech: Path, export_tiny: Callable[..., None], capsys: pytest.CaptureFixture[str]
) -> None:
    folder = installed / "acoustic_onnx" / "1"
    before = snapshot(installed)
    run_precision(installed, speech, "--to", "fp16")
    manifest = json.loads((folder / "manifest.json").read_text(encoding="utf-8"))
    assert precision_of(onnx.load(folder / "model.onnx")) is Precision.FP16
    assert precision_of(onnx.load(folder / "float32.onnx")) is Precision.FP32
    assert manifest["precision"]["precision"] == "fp16"
    assert manifest["precision"]["gate"]["passed"] is True
    assert manifest["precision"]["kept_in_float32"] == {
        "by_range": {"limit": FLOAT16_MAX / MARGIN, "nodes": {}},
        "by_search": None,
    }
    assert "installed" in capsys.readouterr().err
    export_tiny(installed)
    assert "already exported" in capsys.readouterr().err  # the fp16 graph is not overwritten by the next `make serve`
    run_precision(installed, speech, "--to", "int8")  # from the float32 graph, not from fp16
    assert precision_of(onnx.load(folder / "model.onnx")) is Precision.INT8
    run_precision(installed, speech, "--to", "fp32")
    assert snapshot(installed) == before


def test_what_the_gate_refuses_is_not_installed(installed: Path, speech: Path) -> None:
    before = snapshot(installed)
    with pytest.raises(GateError, match=r"the bf16 graph \(bf16\) is refused: .*; nothing was installed"):
        run_precision(installed, speech, "--to", "bf16", "--threshold", "mean_difference=-1")
    assert snapshot(installed) == before


def test_the_search_keeps_what_ranges_did_not_catch(tmp_path: Path) -> None:
    """Values of one attention beyond float16; a margin that lets everything through leaves them to the search."""
    graph = load(tiny_graph())
    change_weight(graph, "/layers.1/attention/v_proj/MatMul", lambda values: values * 2.0**17)
    change_weight(graph, "/layers.1/attention/out_proj/MatMul", lambda values: values / 2.0**17)
    reference = subject("float32", graph)
    made = make(graph, reference, Precision.FP16, speech()[:1], margin=1e-6)
    assert made.report.passed
    assert made.unsafe == {}
    assert made.found is not None
    assert made.found.layers == ("layers.1",)
    assert set(made.found.nodes) == {
        f"/layers.1/attention/{name}" for name in ("v_proj/MatMul", "MatMul_1", "out_proj/MatMul")
    }
    assert made.describe() == "kept in float32 besides: 3 that the gate asked for (in layers.1)"
    write(made, tmp_path / "graph.onnx")
    content = json.loads((tmp_path / "graph.json").read_text(encoding="utf-8"))
    assert content["kept_in_float32"]["by_search"]["nodes"] == list(made.found.nodes)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["graph.json", "graph.onnx"]


@pytest.mark.parametrize("precision", GRAPH_PRECISIONS)
def test_graphs_that_do_not_fit_into_a_protobuf(
    precision: Precision, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Above 2 GB the weights lie in a file of their own, for the gate's sessions, too; here already above 10 kB."""
    monkeypatch.setattr(graphs, "LARGEST_PROTOBUF", 10_000)
    source = load(tiny_graph())
    reference = subject("float32", source)
    made = make(source, reference, precision, speech())
    write(made, tmp_path / "graph.onnx")
    (data,) = tmp_path.glob("graph.onnx.*.data")
    assert data.stat().st_size > 10_000
    opened = open_subject(tmp_path / "graph.onnx")
    assert check(opened, reference, speech()).passed
    broken = load(tiny_graph())
    change_weight(broken, "/head/MatMul", lambda values: values * 2)
    assert "/head/MatMul" in str(check(subject("broken", broken), reference, speech()).departure)


def test_weights_beside_the_graph_are_installed_and_put_back(
    repository: Path, speech: Path, export_tiny: Callable[..., None], monkeypatch: pytest.MonkeyPatch
) -> None:
    """No file of weights stays that no graph names, and none goes that the float32 graph needs."""
    monkeypatch.setattr(graphs, "LARGEST_PROTOBUF", 10_000)
    folder = repository / "acoustic_onnx" / "1"
    export_tiny(repository)
    (float32,) = folder.glob("*.data")
    before = snapshot(repository)
    for precision in ("fp16", "int8"):
        run_precision(repository, speech, "--to", precision)
        assert precision_of(onnx.load(folder / "model.onnx")) == precision
        (low,) = graphs.weights_files(folder / "model.onnx")
        assert set(folder.glob("*.data")) == {float32, low}
        manifest = json.loads((folder / "manifest.json").read_text(encoding="utf-8"))
        assert {name for name in manifest["files"] if name.endswith(".data")} == {
            f"acoustic_onnx/1/{path.name}" for path in (float32, low)
        }
    assert open_subject(folder / "float32.onnx").precision is Precision.FP32
    run_precision(repository, speech, "--to", "fp32")
    assert snapshot(repository) == before


def test_a_graph_that_is_written_over_keeps_its_weights_until_then(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(graphs, "LARGEST_PROTOBUF", 10_000)
    source, output = load(tiny_graph()), tmp_path / "graph.onnx"
    made = {to: make(source, subject("float32", source), to, speech()) for to in (Precision.FP16, Precision.INT8)}
    write(made[Precision.FP16], output)
    (tmp_path / "graph.onnx.other.onnx").write_text("another file", encoding="utf-8")
    before = snapshot(tmp_path)
    replace = Path.replace

    def fail(path: Path, target: Path) -> Path:
        if target == output:
            raise OSError(errno.EIO, "Input/output error")
        return replace(path, target)

    with monkeypatch.context() as patch:
        patch.setattr(Path, "replace", fail)
        with pytest.raises(RepositoryError, match="cannot write"):
            write(made[Precision.INT8], output)
    assert snapshot(tmp_path) == before
    assert open_subject(output).precision is Precision.FP16
    write(made[Precision.INT8], output)
    assert open_subject(output).precision is Precision.INT8
    assert list(tmp_path.glob("*.data")) == graphs.weights_files(output)
    assert (tmp_path / "graph.onnx.other.onnx").is_file()


def test_bad_input(speech: Path, tmp_path: Path) -> None:
    (tmp_path / "graph.onnx").write_bytes(tiny_graph())
    arguments = ["precision", str(tmp_path / "graph.onnx"), "--to", "fp16", "--manifest", str(speech)]
    with pytest.raises(RepositoryError, match=r"is not the engine of a model repository .* name a file with --output"):
        export.main(arguments, standalone_mode=False)
    with pytest.raises(RepositoryError, match=r"x\.json is the name of the report, not of the graph: name one that"):
        export.main([*arguments, "--output", str(tmp_path / "x.json")], standalone_mode=False)
    (tmp_path / "file").write_text("", encoding="utf-8")
    with pytest.raises(RepositoryError, match=r"cannot write .*Not a directory|cannot write .*exists"):
        export.main([*arguments, "--output", str(tmp_path / "file" / "graph.onnx")], standalone_mode=False)


def test_the_stream_scale_is_beyond_float16() -> None:
    assert STREAM_SCALE > FLOAT16_MAX
