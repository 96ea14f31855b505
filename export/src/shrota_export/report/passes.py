"""Passes over graphs from file to file, for :func:`~shrota_export.report.apart.apart`."""

import contextlib
from collections.abc import Mapping, Sequence
from pathlib import Path

import onnx
from onnx.external_data_helper import load_external_data_for_model, uses_external_data

from shrota_export.checkpoint import Checkpoint
from shrota_export.gate.speech import Spoken
from shrota_export.precision.convert import convert
from shrota_export.precision.emulation import emulate
from shrota_export.precision.graphs import load_graph, save_graph
from shrota_export.precision.kinds import Precision
from shrota_export.precision.mixed import unsafe_nodes
from shrota_export.precision.ranges import measure_ranges
from shrota_export.report.fusions import FUSIONS, fuse

SMALL_BYTES = 1024
"""Constants up to here stay in the graph: shapes, which passes read."""


def read_light(path: Path) -> onnx.ModelProto:
    """A graph, with weights that lie beside it as references only."""
    return onnx.load(path, load_external_data=False)


def save_parted(model: onnx.ModelProto, path: Path) -> None:
    """Writes a graph with its weights beside it, from where sessions map them into memory.

    Weights that are references already stay so, and must lie in the same folder.
    """
    remove(path)  # onnx would append to its weights
    onnx.save(model, path, save_as_external_data=True, location=_data(path).name, size_threshold=SMALL_BYTES)


def save_whole(model: onnx.ModelProto, path: Path) -> None:
    """Writes a graph as `shrota export` installs it: in one file, where protobuf allows it."""
    save_graph(model, path, _data(path).name)


def remove(path: Path) -> None:
    """Removes a graph and its own weights beside it."""
    for file in (path, _data(path)):
        file.unlink(missing_ok=True)


def _data(path: Path) -> Path:
    return path.with_name(f"{path.name}.data")


def export(checkpoint: Checkpoint, path: Path) -> None:
    """Exports a checkpoint's float32 graph."""
    from shrota_export.exporters import Exporter, export_graph  # noqa: PLC0415 - PyTorch, which the others do without
    from shrota_export.report.loaded import load_engine  # noqa: PLC0415

    export_graph(load_engine(checkpoint).engine, path, Exporter.TORCHSCRIPT)


def part(source: Path, target: Path) -> None:
    """The same graph with its weights beside it."""
    save_parted(load_graph(source), target)


def fold(source: Path, target: Path) -> None:
    """A graph with onnxscript's constant folding, and without what nothing uses any more."""
    from onnxscript import optimizer  # noqa: PLC0415 - a second

    graph = load_graph(source)
    optimizer.fold_constants(graph)
    optimizer.remove_unused_nodes(graph)
    save_parted(graph, target)


def fuse_file(source: Path, target: Path, name: str, heads: int, width: int) -> list[str]:
    """A graph with some of the fusions of transformers.

    The optimizer infers shapes half a dozen times, each time on a copy of the graph. So weights are references here,
    of which it reads those that it merges.

    Args:
        source: a graph with its weights beside it.
        target: in the same folder; refers to the source's weights.
        name: of the fusions, see :data:`~shrota_export.report.fusions.FUSIONS`.
        heads: of attention.
        width: of the encoder.

    Returns:
        Why attention was not fused, in the fusion's own words.
    """
    with contextlib.chdir(source.parent):  # the optimizer looks for weights in the working folder
        model, remarks = fuse(read_light(source), FUSIONS[name], heads, width)
    for tensor in model.graph.initializer:
        if uses_external_data(tensor):
            tensor.ClearField("raw_data")  # it was read
    save_parted(model, target)
    return remarks


def make_whole(source: Path, target: Path) -> None:
    """A graph with its weights in it."""
    model = read_light(source)
    load_external_data_for_model(model, str(source.parent))
    save_whole(model, target)


def convert_file(source: Path, target: Path, precision: Precision, ranges: Mapping[str, float]) -> None:
    """A float32 graph in another precision, see :mod:`shrota_export.precision.convert`."""
    save_whole(convert(load_graph(source), precision, ranges), target)


def emulate_file(source: Path, target: Path) -> None:
    """A graph in half precision as a GPU would compute it, see :mod:`shrota_export.precision.emulation`."""
    save_parted(emulate(load_graph(source)), target)


def ranges_of(path: Path, speech: Sequence[Spoken]) -> dict[str, float]:
    """The largest magnitude of each tensor on speech."""
    return measure_ranges(load_graph(path), speech)


def unsafe_nodes_of(path: Path, ranges: Mapping[str, float]) -> dict[str, float]:
    """Nodes that float16 could not hold."""
    return unsafe_nodes(load_graph(path), ranges)
