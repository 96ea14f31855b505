# mypy: disallow-subclassing-any=False
"""What TensorRT says while it builds, and how far it is."""

import re
from collections import Counter
from dataclasses import dataclass
from typing import Any

from tqdm import tqdm

LAYER = re.compile(
    r"Name: (?P<name>.*?), LayerType: (?P<kind>\w+), Inputs: \[(?P<inputs>.*)\], "
    r"(?:Constants: \[.*\], )?Outputs: \[(?P<outputs>.*)\], TacticName: (?:.*Metadata: (?P<nodes>.*))?"
)
TYPE = re.compile(r"(?:Format/)?Datatype: (?P<type>\w+)")
NODE = re.compile(r"\[ONNX Layer: ([^\]]*)\]")
ACTIVATIONS = re.compile(r"Total Activation Memory: (\d+) bytes")


@dataclass(frozen=True)
class Layer:
    """One layer of an engine as the engine's inspector lists it: what was fused out of which nodes, in which types."""

    name: str
    kind: str
    """"gemm", "correlation" (a convolution), "kgen" (generated), ..."""
    input_types: tuple[str, ...]
    """TensorRT's names, without the constants: "Float", "Half", "BFloat16", "Int32", "Bool"."""
    output_types: tuple[str, ...]
    nodes: tuple[str, ...]
    """the ONNX nodes that went into it"""


def read_layers(text: str) -> list[Layer]:
    """The layers in a listing of the builder's or the engine inspector's, one a line; other lines are passed over."""
    layers = []
    for line in text.splitlines():
        found = LAYER.match(line)
        if found is not None:
            # "." is greedy in the pattern: without constants the group ends here, with them before "Constants"
            inputs = TYPE.findall(found["inputs"].partition("], Constants: [")[0])
            nodes = NODE.findall(found["nodes"] or "")
            layers.append(
                Layer(found["name"], found["kind"], tuple(inputs), tuple(TYPE.findall(found["outputs"])), tuple(nodes))
            )
    return layers


COUNTED = ("CONVOLUTION", "MATRIX_MULTIPLY", "NORMALIZATION", "SOFTMAX")


def count_types(network: Any) -> dict[str, dict[str, int]]:
    """How many layers of the kinds that matter a strongly typed network has in each type, by TensorRT's names.

    No builder may change these types: what is here is what the plan computes in.
    """
    counts: dict[str, Counter[str]] = {}
    for index in range(network.num_layers):
        layer = network.get_layer(index)
        kind = layer.type.name
        if kind in COUNTED:
            counts.setdefault(kind, Counter())[layer.get_input(0).dtype.name] += 1
    return {kind: dict(counts[kind]) for kind in sorted(counts)}


def make_log(trt: Any) -> Any:
    """A logger for ``trt`` that keeps errors, layers and sizes, and shows nothing."""

    class BuildLog(trt.ILogger):
        """TensorRT's messages, sorted."""

        def __init__(self) -> None:
            super().__init__()
            self.errors: list[str] = []
            self.layers: list[Layer] = []
            """of all profiles, one after the other"""
            self.activation_bytes: list[int] = []
            """of each profile that was finished"""

        def log(self, severity: Any, message: str) -> None:
            """Takes one message; called by the builder, from any of its threads."""
            if severity in {trt.ILogger.ERROR, trt.ILogger.INTERNAL_ERROR}:
                self.errors.append(" ".join(message.split()))
            elif message.startswith("Layers:"):
                self.layers += read_layers(message)
            elif found := ACTIVATIONS.match(message):
                self.activation_bytes.append(int(found[1]))

    return BuildLog()


def make_monitor(trt: Any) -> Any:
    """A monitor for ``trt`` that draws a bar for each phase where someone is watching, and lets Ctrl-C through."""

    class Bars(trt.IProgressMonitor):
        """The phases of a build."""

        def __init__(self) -> None:
            super().__init__()
            self.interrupted = False
            self._bars: dict[str, tqdm[Any]] = {}

        def phase_start(self, phase_name: str, parent_phase: str | None, num_steps: int) -> None:
            """A phase of so many steps begins."""
            depth = 2 if parent_phase is None else 4
            name = " " * depth + phase_name
            self._bars[phase_name] = tqdm(total=num_steps, desc=name, leave=False, disable=None)

        def phase_finish(self, phase_name: str) -> None:
            """A phase is over, or was broken off."""
            self._bars.pop(phase_name).close()

        def step_complete(self, phase_name: str, step: int) -> bool:
            """A step is done; the answer says whether to go on. No exception may leave this: C++ is above."""
            try:
                bar = self._bars[phase_name]
                bar.update(step + 1 - bar.n)
            except KeyboardInterrupt:
                self.interrupted = True
            return not self.interrupted

    return Bars()
