"""What the sections measure with, each part made when it is first needed."""

import contextlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import cached_property, partial
from itertools import accumulate
from pathlib import Path
from typing import Any

import numpy as np

from shrota_client.pages.host import cores
from shrota_export.checkpoint import Checkpoint
from shrota_export.engines import LEVELS, Floats, Ints, make_batch, open_session
from shrota_export.errors import ReportError, SpeechError
from shrota_export.gate import Spoken, Subject, read_speech
from shrota_export.gate.stages import module_engine
from shrota_export.graph.engine import AcousticEngine
from shrota_export.loading import load_tokenizer
from shrota_export.precision.kinds import GRAPH_PRECISIONS, Precision
from shrota_export.progress import step
from shrota_export.report import passes
from shrota_export.report.apart import apart, release
from shrota_export.report.fusions import ALL_FUSIONS
from shrota_export.report.loaded import Loaded, load_engine
from shrota_export.vocabulary import Vocabulary, read_vocabulary

RANGES_SECONDS = 30
"""Of speech, that the ranges are measured on."""
REPOSITORY = Path("model_repository")
"""Where the exports put what they make, unless they are told otherwise."""


def is_published(config: Mapping[str, Any]) -> bool:
    """Whether it is IndicWav2Vec-Hindi's architecture, for which tables were published."""
    return (config["model_type"], config["num_hidden_layers"], config["hidden_size"]) == ("wav2vec2", 24, 1024)


class Material:
    """A checkpoint on its way through all sections.

    Args:
        checkpoint: whose report it is.
        speech: a manifest.
        folder: for graphs; whoever made it removes it.
        is_random: whether the weights are random, so that words mean nothing.
        seconds: how long the audio is that times are measured on.
        repository: whose configuration of the engine Triton is measured with.
    """

    def __init__(
        self,
        checkpoint: Checkpoint,
        speech: Path,
        folder: Path,
        *,
        is_random: bool,
        seconds: float = 10.0,
        repository: Path = REPOSITORY,
    ) -> None:
        self.checkpoint = checkpoint
        self.folder = folder
        self.repository = repository
        self.is_random = is_random
        self.seconds = seconds
        self.threads = cores()
        self._speech = speech

    @cached_property
    def _loaded(self) -> Loaded:
        with step("load the checkpoint"):
            return load_engine(self.checkpoint)

    @property
    def engine(self) -> AcousticEngine:
        """In PyTorch: AUDIO [B, T], NUM_SAMPLES [B, 1] -> LOG_PROBS [B, F, V], NUM_FRAMES [B, 1]."""
        return self._loaded.engine

    @property
    def sizes(self) -> dict[str, int]:
        """Numbers in each parameter of the checkpoint, by its name."""
        return self._loaded.sizes

    @property
    def config(self) -> dict[str, Any]:
        """The checkpoint's, with transformers' defaults filled in."""
        return self._loaded.config

    @cached_property
    def vocabulary(self) -> Vocabulary:
        """Its tokens."""
        return read_vocabulary(self.checkpoint.name, load_tokenizer(self.checkpoint), int(self.config["vocab_size"]))

    @cached_property
    def graph_path(self) -> Path:
        """The float32 graph as exported."""
        with step("export the graph"):
            folder = self.folder / "exported"
            folder.mkdir()
            apart(passes.export, self.checkpoint, folder / "graph.onnx")
        return folder / "graph.onnx"

    def precision_path(self, precision: Precision) -> Path:
        """The graph in a precision."""
        if precision is Precision.FP32:
            return self.graph_path
        path = self.folder / f"{precision}.onnx"
        if not path.is_file():
            ranges = self.ranges if precision is Precision.FP16 else {}
            with step(f"convert to {precision}"):
                apart(passes.convert_file, self.graph_path, path, precision, ranges)
        return path

    def emulated_path(self, precision: Precision) -> Path:
        """The graph in half precision as a GPU would have it."""
        path = self.folder / f"{precision}-emulated.onnx"
        if not path.is_file():
            apart(passes.emulate_file, self.precision_path(precision), path)
        return path

    @cached_property
    def basic_path(self) -> Path:
        """What ONNX Runtime's level basic makes of the float32 graph, for the fusions to begin with."""
        path = self.folder / "basic.onnx"
        open_session(self.graph_path, level=LEVELS.ORT_ENABLE_BASIC, optimized=path)
        release()
        return path

    def fuse(self, name: str, target: Path) -> list[str]:
        """Writes the graph with some of the fusions of transformers; gives the fusions' remarks."""
        heads, width = self.config["num_attention_heads"], self.config["hidden_size"]
        return apart(passes.fuse_file, self.basic_path, target, name, heads, width)

    @cached_property
    def fused_path(self) -> Path:
        """The float32 graph with all fusions of transformers.

        Raises:
            ReportError: attention was not fused.
        """
        parted, path = self.folder / "fused-parted.onnx", self.folder / "fused.onnx"
        with step("fuse the graph"):
            remarks = self.fuse(ALL_FUSIONS, parted)
            if not any(node.op_type == "Attention" for node in passes.read_light(parted).graph.node):
                raise ReportError(f"attention is not fused: {'; '.join(remarks) or 'its pattern is not there'}")
            apart(passes.make_whole, parted, path)
        return path

    def prepare(self) -> None:
        """Makes all graphs, before open sessions hold memory; what fails will fail again where it is used."""
        makers: list[Callable[[], Path]] = [lambda: self.fused_path]
        makers += [partial(self.precision_path, precision) for precision in GRAPH_PRECISIONS]
        makers += [partial(self.emulated_path, precision) for precision in GRAPH_PRECISIONS if precision.is_half]
        for make in makers:
            with contextlib.suppress(Exception):
                make()

    @cached_property
    def subject(self) -> Subject:
        """The engine in PyTorch, for the gate's functions."""
        return Subject(
            "PyTorch",
            module_engine(self.engine),
            Precision.FP32,
            vocabulary=self.vocabulary,
            sample_rate=self.checkpoint.sample_rate,
        )

    @cached_property
    def speech(self) -> list[Spoken]:
        """All of the manifest, without windows that are too short for a frame.

        Raises:
            SpeechError: it cannot be read, or nothing is left.
        """
        least = self.subject.receptive_field
        speech = [
            replace(spoken, windows=tuple(window for window in spoken.windows if window.size >= least))
            for spoken in read_speech(self._speech, self.subject)
        ]
        if not any(spoken.windows for spoken in speech):
            raise SpeechError(f"nothing in {self._speech} is as long as a frame ({least} samples): name other speech")
        return speech

    @cached_property
    def some_speech(self) -> list[Spoken]:
        """The first utterances, of ``RANGES_SECONDS`` together or one."""
        lengths = accumulate(sum(window.size for window in spoken.windows) for spoken in self.speech)
        most = RANGES_SECONDS * self.checkpoint.sample_rate
        return [spoken for spoken, length in zip(self.speech, lengths, strict=True) if length <= most] or self.speech[
            :1
        ]

    @cached_property
    def ranges(self) -> dict[str, float]:
        """The largest magnitude of each tensor on some speech."""
        with step("measure ranges on speech"):
            return apart(passes.ranges_of, self.graph_path, self.some_speech)

    def audio(self, seconds: float, rows: int = 1) -> tuple[Floats, Ints]:
        """Speech of any length, repeated as needed: AUDIO [B, T], NUM_SAMPLES [B, 1]."""
        windows = [window for spoken in self.speech for window in spoken.windows]
        return self.batch(windows, seconds, rows)

    def batch(self, windows: Sequence[Floats], seconds: float, rows: int) -> tuple[Floats, Ints]:
        """The same of given windows, each row another part."""
        length = round(seconds * self.checkpoint.sample_rate)
        whole = np.resize(np.concatenate(list(windows)), length * rows)
        return make_batch(list(whole.reshape(rows, length)))
