"""Which numbers occur in a graph: the largest magnitude of each tensor on speech."""

import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnxruntime.quantization.calibrate import CalibrationDataReader, CalibrationMethod, create_calibrator

from shrota_export.engines import Floats, make_batch
from shrota_export.errors import GraphError
from shrota_export.gate.speech import Spoken
from shrota_export.precision.graphs import float_tensors, layer_of, save_graph
from shrota_export.precision.kinds import FLOAT16_MAX
from shrota_export.precision.mixed import MARGIN, check_is_float32
from shrota_export.progress import each


def measure_ranges(model: onnx.ModelProto, speech: Sequence[Spoken]) -> dict[str, float]:
    """Runs speech through a float32 graph, each window alone.

    The graph is extended by ONNX Runtime's calibrator, which keeps only the least and the greatest number of each
    tensor.

    Args:
        model: a float32 graph.
        speech: what to run.

    Returns:
        The largest magnitude by tensor, in the order of the graph's nodes; NaN where a NaN occurred.

    Raises:
        GraphError: the graph is not a float32 one, or ONNX Runtime does not run it.
    """
    check_is_float32(model)
    windows = [window for spoken in speech for window in spoken.windows]
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "graph.onnx"
        external = bool(save_graph(model, path, "graph.onnx.data"))
        try:
            calibrator = create_calibrator(
                path,
                None,  # all operators
                str(Path(folder) / "augmented.onnx"),
                calibrate_method=CalibrationMethod.MinMax,
                use_external_data_format=external,
            )
            calibrator.collect_data(_Windows(windows))
            found = calibrator.compute_data()
        except Exception as error:  # onnxruntime's errors share no base class but Exception
            raise GraphError(f"ONNX Runtime cannot measure the graph: {' '.join(str(error).split())[:300]}") from error
    magnitudes = {name: float(np.abs(np.asarray(data.range_value)).max()) for name, data in found.items()}
    computed = float_tensors(model)
    order = [name for node in model.graph.node for name in node.output if name in computed]
    return {name: magnitudes[name] for name in ["AUDIO", *order] if name in magnitudes}


class _Windows(CalibrationDataReader):  # type: ignore[misc]
    """Hands one window after the other to the calibrator."""

    def __init__(self, windows: Sequence[Floats]) -> None:
        self._feeds: Iterator[dict[str, Any]] = (
            dict(zip(("AUDIO", "NUM_SAMPLES"), make_batch([window]), strict=True))
            for window in each(windows, "measure ranges")
        )

    def get_next(self) -> dict[str, Any] | None:
        """The next run's inputs."""
        return next(self._feeds, None)


@dataclass(frozen=True)
class LayerRange:
    """The largest number of a layer.

    Attributes:
        layer: see :func:`~shrota_export.precision.graphs.layer_of`.
        tensor: where it occurs.
        largest: its magnitude.
    """

    layer: str
    tensor: str
    largest: float

    @property
    def headroom(self) -> float:
        """How many times it fits into float16."""
        return FLOAT16_MAX / self.largest if self.largest else np.inf


def by_layer(ranges: Mapping[str, float]) -> list[LayerRange]:
    """The largest of each layer, in the order of the graph."""
    largest: dict[str, LayerRange] = {}
    for tensor, magnitude in ranges.items():
        layer = layer_of(tensor)
        known = largest.get(layer)
        if known is None or not magnitude <= known.largest:  # a NaN is larger than all
            largest[layer] = LayerRange(layer, tensor, magnitude)
    return list(largest.values())


def table(ranges: Mapping[str, float], margin: float = MARGIN) -> list[str]:
    """The layers as lines of text."""
    lines = [f"{'layer':24}{'largest':>12}{'times in float16':>18}  tensor"]
    for row in by_layer(ranges):
        mark = "  <- float32" if not row.headroom >= margin else ""
        lines.append(f"{row.layer:24}{row.largest:12.4g}{row.headroom:18.3g}  {row.tensor}{mark}")
    return lines


def plot(ranges: Mapping[str, float], path: Path, margin: float = MARGIN) -> None:
    """Each tensor as a dot above its layer, the largest of each layer as a line, float16's limits as horizontals.

    Raises:
        GraphError: matplotlib is not installed.
    """
    try:
        from matplotlib.figure import Figure  # noqa: PLC0415 - an extra, and slow to import
    except ImportError as error:
        raise GraphError("a plot needs matplotlib: pip install 'shrota-export[plot]'") from error
    layers = [row.layer for row in by_layer(ranges)]
    figure = Figure(figsize=(max(6.0, 0.32 * len(layers) + 2), 4.5), layout="constrained")
    axes = figure.add_subplot()
    place = {layer: index for index, layer in enumerate(layers)}
    shown = {name: magnitude for name, magnitude in ranges.items() if magnitude > 0 and np.isfinite(magnitude)}
    axes.plot([place[layer_of(name)] for name in shown], list(shown.values()), ".", color="0.6", label="each tensor")
    axes.plot([row.largest for row in by_layer(ranges)], color="tab:blue", label="largest of the layer")
    axes.axhline(FLOAT16_MAX, color="tab:red", label="float16 ends: 65,504")
    axes.axhline(FLOAT16_MAX / margin, color="tab:red", linestyle="--", label=f"margin: a {margin:g}th of it")
    axes.set(yscale="log", ylabel="largest magnitude on speech", xlim=(-0.5, len(layers) - 0.5))
    axes.set_xticks(range(len(layers)), layers, rotation=90, fontsize=7)
    axes.legend(fontsize=7, loc="upper left")
    figure.savefig(path, dpi=150)
