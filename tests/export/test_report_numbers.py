"""What the report computes, beside numbers found by hand."""

from itertools import count
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from onnx import TensorProto, helper

from shrota_client.pages.blocks import Paragraph, Table
from shrota_export.checkpoint import find_checkpoint
from shrota_export.engines import open_session
from shrota_export.exporters import Exporter, export_graph
from shrota_export.graph.engine import AcousticEngine
from shrota_export.loading import load_model
from shrota_export.precision.graphs import load_graph
from shrota_export.report.bare import attend_as_transformers_4, count_bare
from shrota_export.report.distributions import describe_output, describe_weights
from shrota_export.report.fit import amdahl, exponent, frontier, quadratic
from shrota_export.report.fusions import ALL_FUSIONS, FUSIONS, fuse, rewrite_attention
from shrota_export.report.operators import PUBLISHED, count_operators, published
from shrota_export.report.profilers import group_of, summarise_events
from shrota_export.report.sections import architecture
from shrota_export.report.sections.architecture import count_flops, count_frames, kind_of, peak_of_activations
from shrota_export.report.sections.scaling import largest_that_fits
from shrota_export.report.sections.weights import _row as weights_row
from shrota_export.report.timing import Spread, take_turns
from shrota_testing.checkpoints import make_audio, make_model, write_checkpoint

CONFIG: dict[str, Any] = {
    "model_type": "wav2vec2",
    "conv_kernel": [10, 3],
    "conv_stride": [5, 2],
    "conv_dim": [4, 8],
    "hidden_size": 8,
    "intermediate_size": 16,
    "num_hidden_layers": 2,
    "vocab_size": 5,
    "num_conv_pos_embeddings": 4,
    "num_conv_pos_embedding_groups": 2,
}


def test_operations_of_a_small_model_by_hand() -> None:
    """1600 samples are (1600 - 10) // 5 + 1 = 319 frames, then (319 - 3) // 2 + 1 = 159."""
    assert count_frames(CONFIG, 1600) == [319, 159]
    assert count_flops(CONFIG, 1600) == {
        "feature extractor": 2 * 10 * 1 * 4 * 319 + 2 * 3 * 4 * 8 * 159,
        "feature projection": 2 * 159 * 8 * 8,
        "position embedding": 2 * 4 * 4 * 8 * 160,  # an even kernel gives one frame more, which is cut off
        "attention projections": 162_816,
        "attention scores": 1_617_984,
        "feed-forward": 162_816,
        "head": 12_720,
    }


@pytest.mark.parametrize("family", ["wav2vec2", "wav2vec2 with group norm", "hubert", "data2vec", "unispeech"])
def test_the_formula_and_pytorch_count_the_same(family: str) -> None:
    from torch.utils.flop_counter import FlopCounterMode

    model = make_model(family)
    config = model.config.to_dict()
    engine = AcousticEngine(model, normalize=True).eval()
    audio = torch.from_numpy(make_audio(8000))[None]
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        engine(audio, torch.tensor([[8000]], dtype=torch.int32))
    assert counter.get_total_flops() == sum(count_flops(config, 8000).values())


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("wav2vec2.feature_extractor.conv_layers.0.layer_norm.weight", "feature extractor"),
        ("wav2vec2.feature_projection.projection.bias", "feature projection"),
        ("wav2vec2.encoder.pos_conv_embed.conv.bias", "position embedding"),
        ("wav2vec2.encoder.layers.11.attention.q_proj.weight", "attention projections"),
        ("wav2vec2.encoder.layers.11.feed_forward.output_dense.weight", "feed-forward"),
        ("wav2vec2.encoder.layers.11.final_layer_norm.weight", "normalisation"),
        ("wav2vec2.encoder.layer_norm.bias", "normalisation"),
        ("lm_head.weight", "head"),
        ("wav2vec2.masked_spec_embed", "other"),
    ],
)
def test_parameters_belong_to_kinds_of_layers(name: str, kind: str) -> None:
    assert kind_of(name) == kind


def test_the_peak_counts_what_is_held_at_a_time() -> None:
    def double(audio: torch.Tensor, _lengths: torch.Tensor) -> torch.Tensor:
        first = audio + 1  # 4000 bytes
        second = torch.cat([first, first])  # 8000 more
        del first
        return second + 1  # 8000 more, when 4000 are gone

    peak = peak_of_activations(double, torch.zeros(1000), torch.zeros(1))
    assert 16_000 <= peak < 17_000


def test_operators_are_counted_in_subgraphs_too() -> None:
    branch = helper.make_graph(
        [helper.make_node("Add", ["x", "x"], ["y"]), helper.make_node("Relu", ["y"], ["z"])],
        "branch",
        [],
        [helper.make_tensor_value_info("z", TensorProto.FLOAT, [1])],
    )
    nodes = [
        helper.make_node("Add", ["x", "x"], ["sum"]),
        helper.make_node("If", ["condition"], ["out"], then_branch=branch, else_branch=branch),
    ]
    graph = helper.make_graph(
        nodes,
        "main",
        [
            helper.make_tensor_value_info("x", TensorProto.FLOAT, [1]),
            helper.make_tensor_value_info("condition", TensorProto.BOOL, []),
        ],
        [helper.make_tensor_value_info("out", TensorProto.FLOAT, [1])],
    )
    assert count_operators(helper.make_model(graph)) == {"Add": 3, "Relu": 2, "If": 1}


def test_exponents_of_made_up_times() -> None:
    sizes = [1.0, 2.0, 4.0, 8.0]
    assert exponent(sizes, [3 * size**1.5 for size in sizes]) == pytest.approx(1.5)
    assert exponent(sizes, [5.0] * 4) == pytest.approx(0)


def test_the_quadratic_part_is_found_and_no_part_is_negative() -> None:
    sizes = [1.0, 2.0, 5.0, 10.0]
    found = quadratic(sizes, [0.5 + 2 * size + 0.25 * size**2 for size in sizes])
    assert found == pytest.approx((0.5, 2.0, 0.25))
    bent = quadratic(sizes, [2 * size - 0.05 * size**2 for size in sizes])
    assert min(bent) >= 0
    assert bent[2] == 0


def test_the_largest_size_that_fits() -> None:
    """100 + 10 x + 2 x^2 = 400 at x = 10; a memory that does not grow has no end."""
    sizes = {str(size): 100 + 10 * size + 2 * size**2 for size in (1, 2, 5, 8)}
    assert largest_that_fits(sizes, 400) == pytest.approx(10)
    assert largest_that_fits(dict.fromkeys("123", 50), 400) is None
    assert largest_that_fits({"1": 500, "2": 600, "3": 700}, 100) == 0


def test_the_frontier_leaves_out_what_another_beats() -> None:
    #        cheap and slow, beaten,     dear and fast, equal cost but slower
    points = [(1.0, 10.0), (2.0, 9.0), (3.0, 20.0), (3.0, 15.0)]
    assert frontier(points) == [0, 2]
    assert frontier([(1.0, 1.0), (1.0, 1.0)]) == [0, 1]


def test_amdahl() -> None:
    assert amdahl(0.5, float("inf")) == pytest.approx(2)
    assert amdahl(0.5, 2) == pytest.approx(4 / 3)
    assert amdahl(0, 4) == 1
    assert amdahl(1, float("inf")) == float("inf")


def test_variants_take_turns_after_one_run_to_warm_up() -> None:
    order: list[str] = []
    ticks = count()
    found = take_turns(
        {"a": lambda: order.append("a"), "b": lambda: order.append("b")}, rounds=2, clock=lambda: float(next(ticks))
    )
    assert order == ["a", "b", "a", "b", "a", "b"]
    assert found["a"] == Spread(median=1.0, low=1.0, high=1.0, p95=1.0, count=2)


def test_rounds_end_when_the_time_is_up_but_not_before_the_third() -> None:
    ticks = count(step=100)
    found = take_turns({"a": lambda: None}, rounds=50, most_s=1, clock=lambda: float(next(ticks)))
    assert found["a"].count == 3


def test_the_profile_takes_each_nodes_median_without_its_first_run() -> None:
    def event(name: str, operator: str, duration: int) -> dict[str, Any]:
        return {"cat": "Node", "name": f"{name}_kernel_time", "args": {"op_name": operator}, "dur": duration}

    events = [
        {"cat": "Session", "name": "model_run", "dur": 9999},
        event("/layers.0/attention/MatMul", "MatMul", 900),  # the first run allocates
        *[event("/layers.0/attention/MatMul", "MatMul", duration) for duration in (10, 30, 20)],
        *[event("gelu_17", "Gelu", duration) for duration in (500, 5, 5, 5)],
    ]
    found = summarise_events(events, {"gelu_17": "layers.1"})
    assert found["all_s"] == pytest.approx(25e-6)
    assert found["groups"] == pytest.approx({"products": 20e-6, "GELU": 5e-6})
    assert list(found["layers"]) == ["layers.0", "layers.1"]
    assert [row["calls"] for row in found["operators"]] == [1, 1]


def test_operators_of_both_frameworks_are_in_the_same_groups() -> None:
    assert group_of("aten::addmm") == group_of("MatMul") == "products"
    assert group_of("aten::mkldnn_convolution") == group_of("Conv") == "convolution"
    assert group_of("NeverHeardOf") == "others"


def test_what_rounding_changes_in_weights() -> None:
    """127 is the largest of its row, so the row's scale is 1 and 0.5 becomes 0: the error is 0.5 of 127."""
    found = describe_weights(np.array([[127.0, 0.5], [0.0, 0.0]], np.float32))
    assert found["error"]["int8"] == pytest.approx(0.5 / np.hypot(127, 0.5))
    assert found["error"]["fp16"] == found["error"]["bf16"] == 0
    assert found["largest"] == 127
    assert describe_weights(np.array([[1e-9, 1.0]], np.float32))["below_float16"] == 0.5
    assert describe_weights(np.array([[1e5, 1.0]], np.float32))["error"]["fp16"] is None  # infinity
    assert describe_weights(np.zeros((2, 2), np.float32))["error"] == {"fp16": 0, "bf16": 0, "int8": 0}


def test_one_matrix_that_overflows_is_not_hidden_by_others_that_do_not() -> None:
    whole = describe_weights(np.array([[0.1, 1.0]], np.float32))
    broken = describe_weights(np.array([[1e5, 1.0]], np.float32))
    for described in ([whole, broken], [broken, whole]):
        assert weights_row("attention", described)[6] == "overflow"
    assert weights_row("attention", [whole])[6].endswith(" %")


@pytest.mark.parametrize(
    ("apart", "said"), [(1, "as many to the last one"), (1.25, "25.00 % more"), (0.5, "50.00 % fewer")]
)
def test_what_the_counter_and_the_formula_differ_by_is_said(apart: float, said: str) -> None:
    data = {
        "seconds": 1.0,
        "frames": 49,
        "parameters": {"head": 10},
        "flops": {"head": 1000},
        "counted_flops": int(1000 * apart),
        "weight_bytes": {"fp32": 40},
        "activation_peak_bytes": 1000,
        "config": dict.fromkeys(
            ("model_type", "num_hidden_layers", "hidden_size", "num_attention_heads", "intermediate_size"), 1
        ),
    }
    assert f"counts {said} in one run" in str(architecture.show(data, {})[0])


def test_a_channel_that_stands_out() -> None:
    hidden = np.ones((10, 5), np.float32)
    hidden[3, 2] = -8
    found = describe_output(hidden)
    assert (found["largest"], found["channel"], found["channel_ratio"]) == (8, 2, 8)


@pytest.fixture(scope="module")
def basic(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What ONNX Runtime's level basic makes of a tiny checkpoint's graph."""
    import onnxruntime

    folder = tmp_path_factory.mktemp("basic")
    checkpoint = find_checkpoint(str(write_checkpoint(folder / "checkpoint")))
    export_graph(
        AcousticEngine(load_model(checkpoint), normalize=True).eval(), folder / "graph.onnx", Exporter.TORCHSCRIPT
    )
    level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_BASIC
    open_session(folder / "graph.onnx", level=level, optimized=folder / "basic.onnx")
    return folder / "basic.onnx"


def test_attention_is_fused_once_the_graph_is_in_the_form_that_the_fusion_looks_for(basic: Path) -> None:
    plain, remarks = fuse(load_graph(basic), FUSIONS["attention"], 4, 32)
    assert count_operators(plain)["Attention"] == 0
    assert remarks == ["failed to match mask path"]
    fused, _ = fuse(load_graph(basic), FUSIONS[ALL_FUSIONS], 4, 32)
    counts = count_operators(fused)
    assert (counts["Attention"], counts["Softmax"]) == (2, 0)  # of two layers
    assert counts["Gelu"] + counts["BiasGelu"] == 10  # 7 convolutions, the positions, 2 layers


def test_the_fused_graph_gives_the_same_beside_padding(basic: Path, tmp_path: Path) -> None:
    fused, _ = fuse(load_graph(basic), FUSIONS[ALL_FUSIONS], 4, 32)
    onnx.save(fused, tmp_path / "fused.onnx")
    audio = np.stack([make_audio(16000, 0), make_audio(16000, 1)])
    feed = {"AUDIO": audio, "NUM_SAMPLES": np.array([[16000], [9000]], np.int32)}
    (expected, frames), (found, _) = (
        open_session(path).run(["LOG_PROBS", "NUM_FRAMES"], feed) for path in (basic, tmp_path / "fused.onnx")
    )
    for row, correct, length in zip(found, expected, frames[:, 0], strict=True):
        np.testing.assert_allclose(row[:length], correct[:length], atol=1e-4)


def test_a_graph_without_the_engines_mask_is_left_as_it_is() -> None:
    node = helper.make_node("Softmax", ["x"], ["y"])
    values = [helper.make_tensor_value_info(name, TensorProto.FLOAT, [1]) for name in "xy"]
    model = helper.make_model(helper.make_graph([node], "g", values[:1], values[1:]))
    before = model.SerializeToString()
    assert rewrite_attention(model) == 0
    assert model.SerializeToString() == before


@pytest.fixture(scope="module")
def bare(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """Operators of the published architecture's bare model."""
    return dict(count_bare(tmp_path_factory.mktemp("bare")))


def test_the_bare_model_of_that_time_has_the_published_operators(bare: dict[str, Any]) -> None:
    old = bare["of transformers 4"]
    assert {kind: old[kind] for kind in PUBLISHED} == PUBLISHED
    assert old.total() - old["Identity"] == 2438  # 2,437 were published


def test_its_attention_gives_what_that_of_today_gives() -> None:
    attention = make_model("wav2vec2").wav2vec2.encoder.layers[0].attention
    hidden = torch.from_numpy(make_audio(20 * 32)).reshape(2, 10, 32)
    found, _ = attend_as_transformers_4(attention, hidden)
    torch.testing.assert_close(found, attention(hidden)[0])


def test_the_published_table_stands_beside_ours(bare: dict[str, Any]) -> None:
    table, explanation = published({"MatMul": 194, "Shape": 56, "Relu": 3}, bare)
    assert isinstance(table, Table)
    assert isinstance(explanation, Paragraph)
    rows = {row[0]: row for row in table.rows}
    assert rows["MatMul"] == ["MatMul", *["194"] * 5]
    assert rows["all others"][1] == "192"
    assert rows["all"][1] == "2,437"
    assert rows["all"][-1] == "253"
    assert "just as many nodes as published of 9 of the 9 kinds, and 2,438 in all without Identity" in explanation.text
