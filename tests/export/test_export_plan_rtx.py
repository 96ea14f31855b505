"""Plans by TensorRT-RTX itself: it builds ahead of time on a processor, for GPUs that are not here."""

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import onnx
import pytest
from onnx import TensorProto

from shrota_client.gpu import Gpu
from shrota_export.cli import export
from shrota_export.errors import PlanError, RepositoryError
from shrota_export.manifest import COUNTED
from shrota_export.paths import MANIFEST, MODEL, PLAN, PLAN_CONFIGURATION, PLAN_DESCRIPTION
from shrota_export.precision.kinds import Precision as GraphPrecision
from shrota_export.precision.mixed import to_mixed
from shrota_export.tensorrt import comparison, export_plan
from shrota_export.tensorrt.builder import Built, Request, build_plan
from shrota_export.tensorrt.flavours import RTX
from shrota_export.tensorrt.graphs import Precision
from shrota_export.tensorrt.profiles import Batcher, make_profiles
from shrota_export.tensorrt.timing_cache import TimingCache
from shrota_testing.files import snapshot
from shrota_testing.half_engine import write_half_engine
from shrota_testing.repository import copy_repository, make_repository, set_parameter

pytest.importorskip("tensorrt_rtx", reason="the package tensorrt-rtx is not installed (it is for x86-64 only)")

KINDS = {
    Precision.FP32: TensorProto.FLOAT,
    Precision.TF32: TensorProto.FLOAT,
    Precision.FP16: TensorProto.FLOAT16,
    Precision.BF16: TensorProto.BFLOAT16,
}
NAMES = {Precision.FP16: "Half", Precision.BF16: "BFloat16"}
ONE_PROFILE = Batcher(budget=32000, longest=32000, shortest=400, max_rows=1, sample_rate=16000)


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    """A repository with the tiny engine."""
    return make_repository(tmp_path / "model_repository")


def build(folder: Path, precision: Precision, *targets: str) -> Built:
    graph = folder / f"{precision}.onnx"
    write_half_engine(graph, KINDS[precision])
    profiles = make_profiles(ONE_PROFILE)
    return build_plan(Request(RTX, graph, precision, profiles, ONE_PROFILE, targets, None), TimingCache(None))


def shrota_export_tensorrt(repository: Path, *arguments: str, target: str = "8.9") -> None:
    command = ["tensorrt", *arguments, "--for", "rtx", "--compute-capability", target, "--repository", str(repository)]
    export.main(command, standalone_mode=False)


@pytest.mark.parametrize("target", ["8.6", "8.9", "12.0"])
@pytest.mark.parametrize("precision", list(Precision))
def test_every_precision_is_built_for_every_gpu(tmp_path: Path, precision: Precision, target: str) -> None:
    built = build(tmp_path, precision, target)
    assert memoryview(built.plan).nbytes > 1000
    assert len(built.activation_bytes) == 1


@pytest.mark.parametrize("precision", NAMES)
def test_products_are_low_and_normalisation_is_float32(tmp_path: Path, precision: Precision) -> None:
    built = build(tmp_path, precision, "8.9")
    low = "HALF" if precision is Precision.FP16 else "BF16"
    assert built.types == {
        "CONVOLUTION": {low: 1},
        "MATRIX_MULTIPLY": {low: 1},
        "NORMALIZATION": {"FLOAT": 1},
        "SOFTMAX": {"FLOAT": 1},
    }
    check_engine(built, NAMES[precision], {"product"}, {"layer_norm"})


def check_engine(built: Built, low: str, products: set[str], normalisations: set[str]) -> None:
    """What the engine's own list of layers says, after all fusions."""
    multiplied = [layer for layer in built.layers if layer.kind == "gemm"]
    assert products <= {node for layer in multiplied for node in layer.nodes}
    assert {kind for layer in multiplied for kind in layer.input_types} == {low}
    normal = [layer for layer in built.layers if normalisations & set(layer.nodes)]
    assert normalisations <= {node for layer in normal for node in layer.nodes}
    for layer in normal:
        # a fused layer is named after its operations in order: what comes in low is cast before the mean is taken
        mean = layer.name.find("Mean")
        if mean >= 0 and low in layer.input_types:
            assert 0 <= layer.name.find("Cast") < mean
        # and what goes from one half of a normalisation to the other is float32
        if mean < 0:
            assert set(layer.input_types) == {"Float"}


def test_a_float32_plan_has_nothing_low(tmp_path: Path) -> None:
    built = build(tmp_path, Precision.FP32, "8.9")
    assert {kind for types in built.types.values() for kind in types} == {"FLOAT"}
    assert {kind for layer in built.layers for kind in layer.input_types} <= {"Float", "Int32", "Bool"}


def test_fp16_is_built_for_turing(tmp_path: Path) -> None:
    assert build(tmp_path, Precision.FP16, "7.5").types["MATRIX_MULTIPLY"] == {"HALF": 1}


def test_turing_has_no_float32_products(tmp_path: Path) -> None:
    message = (
        r"TensorRT-RTX cannot run the node product on compute capability 7\.5 \(Turing: T4, RTX 20\): FP32 GEMM is not "
        r"supported; there a plan needs the fp16 graph \(--precision fp16\)"
    )
    with pytest.raises(PlanError, match=f"^{message}$"):
        build(tmp_path, Precision.FP32, "7.5")


def test_turing_has_no_bfloat16(tmp_path: Path) -> None:
    with pytest.raises(
        PlanError, match=r"^the graph holds bfloat16, which GPUs of compute capability 7\.5 do not have"
    ):
        build(tmp_path, Precision.BF16, "7.5")


def test_one_plan_for_several_gpus(tmp_path: Path) -> None:
    assert memoryview(build(tmp_path, Precision.FP16, "8.6", "8.9").plan).nbytes > 1000


def test_the_plan_arrives_with_its_description(repository: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before = snapshot(repository)
    shrota_export_tensorrt(repository)
    after = snapshot(repository)
    assert after.keys() - before.keys() == {str(PLAN), str(PLAN_DESCRIPTION)}
    assert {name: content for name, content in after.items() if name in before} == before  # comments survive
    description = json.loads(after[str(PLAN_DESCRIPTION)])
    assert description["tensorrt"]["flavour"] == "tensorrt-rtx"
    assert description["compute_capabilities"] == ["8.9"]
    assert (description["precision"], description["tf32"], description["built_on"]) == ("fp32", False, None)
    assert description["profiles"][-1]["AUDIO"] == {"min": [1, 128001], "opt": [2, 320000], "max": [4, 320000]}
    assert description["batcher"] == {"batch_budget_seconds": 40, "longest_seconds": 20, "max_batch_rows": 64}
    assert description["plan"]["bytes"] == len(after[str(PLAN)])
    assert description["comparison"] == {"was_run": False, "why": "the machine that built it has no GPU"}
    assert "not compared with the float32 graph: the machine that built it has no GPU" in capsys.readouterr().err


def test_the_same_plan_is_not_built_again(repository: Path, capsys: pytest.CaptureFixture[str]) -> None:
    shrota_export_tensorrt(repository)
    before = snapshot(repository)
    shrota_export_tensorrt(repository)
    assert snapshot(repository) == before
    assert "the same plan is already in" in capsys.readouterr().err
    shrota_export_tensorrt(repository, target="8.6")
    assert json.loads(snapshot(repository)[str(PLAN_DESCRIPTION)])["compute_capabilities"] == ["8.6"]


def test_a_graph_of_another_precision_is_refused(repository: Path, tmp_path: Path) -> None:
    write_half_engine(tmp_path / "half.onnx")
    with pytest.raises(PlanError, match=r"half\.onnx is a graph in fp16, and a plan cannot change that: give the fp32"):
        shrota_export_tensorrt(repository, str(tmp_path / "half.onnx"), "--precision", "tf32")
    with pytest.raises(PlanError, match=r"make its bf16 twin with `shrota export precision .*model\.onnx --to bf16`"):
        shrota_export_tensorrt(repository, "--precision", "bf16")


def test_an_unknown_compute_capability_lists_the_known(repository: Path) -> None:
    with pytest.raises(PlanError, match=r"builds nothing for compute capability 9\.9, only for 7\.5, 8\.0, .*12\.0"):
        shrota_export_tensorrt(repository, target="9.9")


def test_without_a_gpu_the_target_must_be_named(repository: Path) -> None:
    with pytest.raises(PlanError, match=r"no NVIDIA GPU here .*name what to build for with --compute-capability"):
        export.main(["tensorrt", "--for", "rtx", "--repository", str(repository)], standalone_mode=False)


def test_the_gpu_that_is_here_is_the_usual_target(repository: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    gpu = Gpu("NVIDIA GeForce RTX 3060", "8.6", "580.95.05", 12 * 2**30, 11 * 2**30)
    monkeypatch.setattr(export_plan, "find_gpu", lambda: gpu)
    monkeypatch.setattr(comparison, "compare_plan", lambda *_: {"was_run": False, "why": "it is a fake"})
    export.main(["tensorrt", "--for", "rtx", "--repository", str(repository)], standalone_mode=False)
    description = json.loads((repository / PLAN_DESCRIPTION).read_text("utf-8"))
    assert description["compute_capabilities"] == ["8.6"]
    assert description["built_on"] == {"name": "NVIDIA GeForce RTX 3060", "driver": "580.95.05"}


def change_graph(repository: Path, change: Callable[[onnx.GraphProto], None]) -> Path:
    path = repository / "acoustic_onnx" / "1" / "model.onnx"
    model = onnx.load(path)
    change(model.graph)
    onnx.save(model, path)
    return path


def test_a_node_that_tensorrt_does_not_know(repository: Path) -> None:
    def change(graph: onnx.GraphProto) -> None:
        node = next(node for node in graph.node if node.op_type == "Max")
        graph.node.remove(node)
        # of ONNX, but unknown to TensorRT's parser
        graph.node.append(onnx.helper.make_node("BitShift", list(node.input), ["positive"], "shift", direction="LEFT"))
        graph.node.sort(key=lambda node: node.op_type == "Div" and node.output[0] == "NUM_FRAMES")

    before_plan = change_graph(repository, change)
    before = snapshot(repository)
    with pytest.raises(
        PlanError, match=rf"TensorRT-RTX cannot build {before_plan}: node shift \(BitShift\) is not sup"
    ):
        shrota_export_tensorrt(repository)
    assert snapshot(repository) == before


def test_weights_in_a_file_beside_the_graph(repository: Path) -> None:
    path = repository / "acoustic_onnx" / "1" / "model.onnx"
    onnx.save(onnx.load(path), path, save_as_external_data=True, location="model.weights.onnx.data", size_threshold=100)
    shrota_export_tensorrt(repository)
    first = json.loads((repository / PLAN_DESCRIPTION).read_text("utf-8"))["graph"]["sha256"]
    data = path.with_name("model.weights.onnx.data")
    content = bytearray(data.read_bytes())
    content[0] ^= 1
    data.write_bytes(content)
    shrota_export_tensorrt(repository)
    assert json.loads((repository / PLAN_DESCRIPTION).read_text("utf-8"))["graph"]["sha256"] != first
    data.unlink()
    with pytest.raises(PlanError, match=r"model\.onnx is no whole ONNX graph"):
        shrota_export_tensorrt(repository)


@pytest.mark.parametrize("content", [b"", b"no graph", "ग्राफ़".encode()])
def test_a_file_that_is_no_graph(repository: Path, tmp_path: Path, content: bytes) -> None:
    (tmp_path / "x.onnx").write_bytes(content)
    with pytest.raises(PlanError, match=r"x\.onnx is no "):
        shrota_export_tensorrt(repository, str(tmp_path / "x.onnx"))


def test_another_vocabulary_and_other_profiles_go_into_the_configuration(repository: Path) -> None:
    write_half_engine(repository / MODEL, TensorProto.FLOAT, vocabulary_size=32)
    config = repository / "acoustic" / "config.pbtxt"
    config.write_text(config.read_text("utf-8").replace('string_value: "40"', 'string_value: "20"'), "utf-8")
    shrota_export_tensorrt(repository)
    text = (repository / PLAN_CONFIGURATION).read_text("utf-8")
    assert "dims: 32" in text
    assert (
        text.count("profile:") == len(json.loads((repository / PLAN_DESCRIPTION).read_text("utf-8"))["profiles"]) == 6
    )


@pytest.mark.parametrize("first", [True, False], ids=["first plan", "over an older one"])
def test_a_full_disk_changes_nothing(repository: Path, monkeypatch: pytest.MonkeyPatch, first: bool) -> None:
    if not first:
        shrota_export_tensorrt(repository, target="8.6")
    before = snapshot(repository)

    def write(path: Path, built: Any) -> None:
        path.write_bytes(bytes(100))
        raise OSError(28, os.strerror(28))

    monkeypatch.setattr(export_plan, "_write", write)
    with pytest.raises(RepositoryError, match="No space left on device; nothing was changed"):
        shrota_export_tensorrt(repository)
    assert snapshot(repository) == before
    assert not [path for path in repository.iterdir() if path.name.startswith(".")]


def test_without_an_exported_graph(repository: Path) -> None:
    (repository / "acoustic_onnx" / "1" / "model.onnx").unlink()
    with pytest.raises(PlanError, match=r"no graph at .*: run `shrota export onnx CHECKPOINT --repository"):
        shrota_export_tensorrt(repository)


def test_another_checkpoint_than_the_exported_one(repository: Path, tiny_checkpoint: Path) -> None:
    with pytest.raises(
        PlanError, match=r"was exported from an unknown checkpoint, and not from .*: run `shrota export"
    ):
        shrota_export_tensorrt(repository, str(tiny_checkpoint))


@pytest.fixture(scope="module")
def exported(export_tiny: Callable[..., None], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A repository with the export of a tiny wav2vec 2.0 checkpoint; one profile, so that it is quick."""
    folder = copy_repository(tmp_path_factory.mktemp("exported") / "model_repository")
    set_parameter(folder / "acoustic" / "config.pbtxt", "max_batch_rows", "2")
    export_tiny(folder)
    return folder


@pytest.mark.parametrize("target", ["8.6", "8.9", "12.0"])
def test_an_exported_graph_is_built_for_every_gpu(exported: Path, target: str) -> None:
    shrota_export_tensorrt(exported, target=target)
    description = json.loads((exported / PLAN_DESCRIPTION).read_text("utf-8"))
    manifest = json.loads((exported / MANIFEST).read_text("utf-8"))
    assert description["checkpoint"]["sha256"] == manifest["checkpoint"]["sha256"]
    assert description["types"]["NORMALIZATION"] == {"FLOAT": manifest["graph"]["LayerNormalization"]}
    assert description["types"]["MATRIX_MULTIPLY"] == {"FLOAT": manifest["graph"]["MatMul"]}
    assert description["types"]["CONVOLUTION"] == {"FLOAT": manifest["graph"]["Conv"]}
    assert len(description["activation_bytes"]) == len(description["profiles"]) == 1


def test_the_form_for_gpus_is_built_too(export_tiny: Callable[..., None], repository: Path, tmp_path: Path) -> None:
    set_parameter(repository / "acoustic" / "config.pbtxt", "max_batch_rows", "2")
    export_tiny(repository, "--target", "gpu")
    graph = onnx.load(repository / MODEL)
    onnx.save(to_mixed(graph, GraphPrecision.FP16), tmp_path / "mixed.onnx")
    request = Request(
        RTX, tmp_path / "mixed.onnx", Precision.FP16, make_profiles(ONE_PROFILE), ONE_PROFILE, ["8.9"], None
    )
    built = build_plan(request, TimingCache(None))
    counts = json.loads((repository / MANIFEST).read_text("utf-8"))["graph"]
    assert built.types["MATRIX_MULTIPLY"] == {"HALF": counts["MatMul"]}
    assert built.types["NORMALIZATION"] == {"FLOAT": counts["LayerNormalization"]}
    assert "CONVOLUTION" not in built.types
    shrota_export_tensorrt(repository)
    description = json.loads((repository / PLAN_DESCRIPTION).read_text("utf-8"))
    assert description["types"]["MATRIX_MULTIPLY"] == {"FLOAT": counts["MatMul"]}


def test_an_exported_float32_graph_is_refused_for_turing(exported: Path) -> None:
    message = (
        r"cannot run the node /\S+/MatMul\S* on compute capability 7\.5 \(Turing: T4, RTX 20\): FP32 GEMM is not sup"
    )
    with pytest.raises(PlanError, match=message):
        shrota_export_tensorrt(exported, target="7.5")


@pytest.mark.parametrize("precision", NAMES)
@pytest.mark.parametrize("target", ["7.5", "8.6", "8.9", "12.0"])
def test_a_mixed_graph_keeps_its_types_in_the_engine(
    exported: Path, tmp_path: Path, precision: Precision, target: str
) -> None:
    graph = onnx.load(exported / MODEL)
    onnx.save(to_mixed(graph, GraphPrecision(str(precision))), tmp_path / "mixed.onnx")
    profiles = make_profiles(ONE_PROFILE)
    request = Request(RTX, tmp_path / "mixed.onnx", precision, profiles, ONE_PROFILE, [target], None)
    if (precision, target) == (Precision.BF16, "7.5"):
        with pytest.raises(PlanError, match="the graph holds bfloat16, which GPUs of compute capability"):
            build_plan(request, TimingCache(None))
        return
    built = build_plan(request, TimingCache(None))
    names = {kind: {node.name for node in graph.graph.node if node.op_type == kind} for kind in COUNTED}
    low = "HALF" if precision is Precision.FP16 else "BF16"
    assert built.types["MATRIX_MULTIPLY"] == {low: len(names["MatMul"])}
    assert built.types["CONVOLUTION"] == {low: len(names["Conv"])}
    assert built.types["NORMALIZATION"] == {"FLOAT": len(names["LayerNormalization"])}
    assert set(built.types["SOFTMAX"]) == {"FLOAT"}
    products = {node for layer in built.layers if layer.kind == "gemm" for node in layer.nodes}
    check_engine(built, NAMES[precision], products & names["MatMul"], names["LayerNormalization"])
    assert products & names["MatMul"]
