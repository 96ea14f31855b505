"""OpenVINO, where it is installed: writes its form of a graph, and runs that as it will be served."""

import sys
from collections.abc import Mapping
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np

from shrota_export.engines import Engine, Floats, Ints
from shrota_export.errors import ExportError, GraphError
from shrota_export.precision.kinds import Precision

OPTIONS = "runtime_options"
"""Where a model's file keeps the properties that it is to be compiled with (OpenVINO's name)."""
ACTIVATIONS = "512"
"""Numbers of a row that share a scale in 8-bit products."""
PROPERTIES: Mapping[Precision, Mapping[str, str]] = {
    Precision.INT8: {"INFERENCE_PRECISION_HINT": "bf16", "DYNAMIC_QUANTIZATION_GROUP_SIZE": ACTIVATIONS},
    Precision.BF16: {"INFERENCE_PRECISION_HINT": "bf16", "DYNAMIC_QUANTIZATION_GROUP_SIZE": "0"},
    Precision.FP32: {"INFERENCE_PRECISION_HINT": "f32", "DYNAMIC_QUANTIZATION_GROUP_SIZE": "0"},
}
"""What is served with each precision. In int8, what is not in 8 bits is in bfloat16 where the processor has it."""
AS_SERVED = {"PERFORMANCE_HINT": "LATENCY", "NUM_STREAMS": "1", "CPU_RUNTIME_CACHE_CAPACITY": "100"}
"""What ``acoustic_openvino/config.pbtxt`` says beside that."""


def find_openvino() -> ModuleType:
    """The package, without its telemetry: ``import openvino`` reports to its maker otherwise, and asks nobody.

    Raises:
        ExportError: it is not installed.
    """
    sys.modules.setdefault("openvino_telemetry", None)  # type: ignore[arg-type]  # what is None cannot be imported
    try:
        import openvino  # noqa: PLC0415 - optional
    except ImportError as error:
        raise ExportError(f"the package openvino is not installed ({error}): run `pip install openvino`") from error
    return openvino  # type: ignore[no-any-return, unused-ignore]


def write_model(graph: Path, target: Path, precision: Precision, shortest: int) -> None:
    """Writes an ONNX graph as OpenVINO's intermediate representation, with the properties that go with a precision.

    Args:
        graph: with float32 weights, or 8-bit ones that are dequantised.
        target: ``model.xml``; the weights go beside it, as ``model.bin``.
        precision: of what is served.
        shortest: least samples of AUDIO, so that OpenVINO refuses fewer before it runs them: see
            ``shrota_openvino.session`` for what becomes of it otherwise.

    Raises:
        GraphError: OpenVINO does not take the graph.
    """
    openvino = find_openvino()
    try:
        model = openvino.Core().read_model(graph)
        model.reshape({"AUDIO": openvino.PartialShape([-1, openvino.Dimension(shortest, -1)])})
    except RuntimeError as error:
        raise GraphError(f"OpenVINO cannot read the graph: {' '.join(str(error).split())[:300]}") from error
    for name, value in PROPERTIES[precision].items():
        model.set_rt_info(value, [OPTIONS, name])
    openvino.save_model(model, target, compress_to_fp16=False)


def open_model(path: Path, precision: Precision) -> tuple[Engine, dict[str, Any]]:
    """A model that was written, as it will be served, and what OpenVINO says of how it runs it here.

    Raises:
        GraphError: OpenVINO does not run it.
    """
    openvino = find_openvino()
    core = openvino.Core()
    try:
        compiled = core.compile_model(core.read_model(path), "CPU", {**AS_SERVED, **PROPERTIES[precision]})
    except RuntimeError as error:
        raise GraphError(f"OpenVINO cannot run the graph: {' '.join(str(error).split())[:300]}") from error
    request = compiled.create_infer_request()

    def run(audio: Floats, num_samples: Ints) -> tuple[Floats, Ints]:
        outputs = request.infer({"AUDIO": audio, "NUM_SAMPLES": num_samples.astype(np.int32)})
        return outputs["LOG_PROBS"], outputs["NUM_FRAMES"]

    description = {
        "version": openvino.__version__.partition("-")[0],
        "processor": core.get_property("CPU", "FULL_DEVICE_NAME"),
        "properties": dict(PROPERTIES[precision]),
        "precision_here": compiled.get_property("INFERENCE_PRECISION_HINT").to_string(),
    }
    return run, description
