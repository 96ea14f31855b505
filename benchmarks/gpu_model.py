"""The models of :mod:`benchmarks.gpu`: one checkpoint, as PyTorch runs it, and as a graph in each precision."""

import copy
import re
from pathlib import Path
from typing import Any

from onnxruntime.capi.onnxruntime_pybind11_state import NotImplemented as NoKernelError

from benchmarks.gpu_engines import OnnxEngine, TorchEngine, batch_of, graph_precision
from benchmarks.gpu_run import LIKE
from scripts.repository import ROOT
from shrota_export.checkpoint import Checkpoint, find_checkpoint
from shrota_export.exporters import Exporter, export_graph
from shrota_export.gate import Spoken, Subject, read_speech
from shrota_export.graph.engine import AcousticEngine, Target
from shrota_export.loading import load_feature_extractor, load_model, load_tokenizer
from shrota_export.precision.convert import convert
from shrota_export.precision.graphs import load_graph, save_graph
from shrota_export.precision.kinds import Precision
from shrota_export.precision.ranges import measure_ranges
from shrota_export.random_checkpoint import Shape, write_random_checkpoint
from shrota_export.vocabulary import read_vocabulary

BUNDLED = ROOT / "models" / "hindi-small"

RANGES_UTTERANCES = 5
"""As many as `samples/` has; the processor runs them."""
FLOAT32_CONVOLUTIONS = "convolutions in float32: this provider has none in bfloat16"
CONVOLUTION = re.compile(r"implementation for Conv\(|running Conv node")
"""In the message of ONNX Runtime, which also names the node, the kind that has no kernel."""


class Model:
    """A checkpoint, its PyTorch engine, and its graphs in the form of ``target``; PyTorch keeps its own.

    Args:
        name: of the files and in the tables.
        checkpoint: the checkpoint.
        folder: for the graphs.
        speech: a manifest.
        target: see :class:`~shrota_export.graph.engine.Target`.
    """

    def __init__(
        self, name: str, checkpoint: Checkpoint, folder: Path, speech: Path, target: Target = Target.GPU
    ) -> None:
        self.name = name
        self.sha256 = checkpoint.sha256
        self._folder = folder
        self._speech = speech
        self._checkpoint = checkpoint
        self._target = target
        model = load_model(checkpoint)
        self.vocabulary = read_vocabulary(checkpoint.name, load_tokenizer(checkpoint), model.config.vocab_size)
        self._normalize = bool(load_feature_extractor(checkpoint).do_normalize)
        self._module = AcousticEngine(model, normalize=self._normalize).eval()
        self._rate = checkpoint.sample_rate
        self._ranges: dict[str, float] | None = None

    def torch_engine(self, mode: str, device: str, attention: str = "eager") -> TorchEngine:
        """A copy on the device."""
        module = copy.deepcopy(self._module)
        for layer in module.modules():
            if hasattr(layer, "config") and hasattr(layer.config, "_attn_implementation"):
                layer.config._attn_implementation = attention  # noqa: SLF001 - as transformers' own setter does
        return TorchEngine(module, mode, device)

    def graph(self, precision: Precision, *, float32_convolutions: bool = False) -> Path:
        """The file of a graph, made when it is first asked for."""
        suffix = "-float32-convolutions" if float32_convolutions else ""
        path = self._folder / f"{self.name}-{precision}{suffix}.onnx"
        if path.is_file():
            return path
        if precision is Precision.FP32:
            engine = AcousticEngine(load_model(self._checkpoint), normalize=self._normalize, target=self._target)
            model = export_graph(engine.eval(), self._folder / "exported.onnx", Exporter.TORCHSCRIPT)
        else:
            source = load_graph(self.graph(Precision.FP32))
            if precision is Precision.FP16 and self._ranges is None:
                self._ranges = measure_ranges(source, self.speech()[:RANGES_UTTERANCES])
            keep = [node.name for node in source.graph.node if node.op_type == "Conv"] if float32_convolutions else []
            model = convert(source, precision, self._ranges or {}, keep, fused=self._target is Target.GPU)
        save_graph(model, path, f"{path.name}.data")
        return path

    def graph_that_runs(self, mode: str, device: str) -> tuple[Path, str | None]:
        """As :meth:`graph`; where the provider has no bfloat16 convolution, with float32 ones.

        Returns:
            The file, and how the graph differs from what the mode's name says; None if it does not.

        Raises:
            Exception: whatever else ONNX Runtime says of the bfloat16 graph.
        """
        precision = graph_precision(mode)
        path = self.graph(precision)
        if precision is not Precision.BF16:
            return path, None
        try:
            OnnxEngine(path, mode, device)(*batch_of(1, 1.0))
        except NoKernelError as error:
            if not CONVOLUTION.search(str(error)):
                raise
            return self.graph(precision, float32_convolutions=True), FLOAT32_CONVOLUTIONS
        return path, None

    def speech(self) -> list[Spoken]:
        """All utterances of the manifest."""
        return read_speech(self._speech, self.subject("", lambda audio, _: (audio, audio), Precision.FP32))

    def subject(self, name: str, engine: Any, precision: Precision) -> Subject:
        """For the gate."""
        return Subject(name, engine, precision, vocabulary=self.vocabulary, sample_rate=self._rate)


class Models:
    """The bundled checkpoint, the large one, and that with convolutions; each is loaded when it is first asked for.

    Args:
        folder: for checkpoint and graphs.
        speech: a manifest.
        shape: of the large one.
    """

    def __init__(self, folder: Path, speech: Path, shape: Shape) -> None:
        self.bundled = find_checkpoint(str(BUNDLED))
        self._folder = folder
        self._speech = speech
        self._shape = shape
        self._models: dict[str, Model] = {}

    def __getitem__(self, which: str) -> Model:
        """By "bundled", "large", "convolutions"."""
        if which not in self._models:
            target = Target.CPU if which == "convolutions" else Target.GPU
            checkpoint = self.bundled if which == "bundled" else self._large()
            model = Model(which, checkpoint, self._folder, self._speech, target)
            model.graph(Precision.FP32)
            self._models[which] = model
        return self._models[which]

    def _large(self) -> Checkpoint:
        folder = self._folder / "random"
        if not folder.is_dir():
            write_random_checkpoint(folder, LIKE, self._shape, seed=0)
        return find_checkpoint(str(folder))
