"""The graph of IndicWav2Vec-Hindi's architecture, as it leaves the exporter."""

from pathlib import Path

from shrota_export.checkpoint import find_checkpoint
from shrota_export.exporters import Exporter, export_graph
from shrota_export.graph.engine import AcousticEngine
from shrota_export.loading import load_model
from shrota_export.manifest import count_nodes
from shrota_export.precision.kinds import Precision
from shrota_export.precision.mixed import to_mixed
from shrota_export.random_checkpoint import Shape, write_random_checkpoint


def test_a_twin_of_24_layers_has_just_the_nodes_that_its_architecture_has(tmp_path: Path) -> None:
    """By hand, of 24 layers.

    LayerNormalization: 7 convolutions, the projection, 2 a layer, the encoder. MatMul: 8 a layer (4 projections,
    scores, context, 2 feed-forward), the projection, the head. Conv: 7 of the extractor, 1 of the positions.
    """
    write_random_checkpoint(tmp_path / "twin", "indicwav2vec-hindi", Shape(layers=24, hidden_size=64), seed=0)
    engine = AcousticEngine(load_model(find_checkpoint(str(tmp_path / "twin"))), normalize=True).eval()
    nodes = count_nodes(export_graph(engine, tmp_path / "model.onnx", Exporter.TORCHSCRIPT))
    assert (nodes["LayerNormalization"], nodes["MatMul"], nodes["Conv"]) == (57, 194, 8)
    assert (nodes["Gemm"], nodes["Softmax"]) == (0, 24)
    assert "Identity" not in nodes  # its biases are all zero, and the exporter stores equal ones once


def test_biases_that_are_equal_do_not_keep_anything_in_float32(tmp_path: Path) -> None:
    write_random_checkpoint(tmp_path / "twin", "indicwav2vec-hindi", Shape(layers=2, hidden_size=64), seed=0)
    engine = AcousticEngine(load_model(find_checkpoint(str(tmp_path / "twin"))), normalize=True).eval()
    model = to_mixed(export_graph(engine, tmp_path / "model.onnx", Exporter.TORCHSCRIPT), Precision.FP16)
    producers = {name: node for node in model.graph.node for name in node.output}
    gelus = [node for node in model.graph.node if node.op_type == "Erf" and "feed_forward" in node.name]
    assert len(gelus) == 2
    for erf in gelus:
        division = producers[erf.input[0]]
        addition = producers[division.input[0]]
        assert (division.op_type, addition.op_type) == ("Div", "Add")
        assert all(name.endswith("/fp16") or producers[name].op_type == "MatMul" for name in addition.input)
