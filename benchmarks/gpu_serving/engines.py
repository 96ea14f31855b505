"""The engines in this process: transformers' model as it is, which all ratios are of, and ``acoustic_torch``."""

import gc
import json
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch

from benchmarks.gpu_engines import Wait
from scripts.repository import ROOT
from shrota_export.checkpoint import Checkpoint
from shrota_export.engines import Floats, Ints
from shrota_export.loading import load_feature_extractor
from shrota_export.paths import TORCH_ENGINE, TORCH_WEIGHTS

REFERENCE = "PyTorch bf16, transformers as it is"
VARIANCE_EPSILON = 1e-7
"""What ``Wav2Vec2FeatureExtractor.zero_mean_unit_var_norm`` adds to the variance."""


def on_device(precision: str) -> str:
    """Name of ``acoustic_torch`` with audio and results in the GPU's memory."""
    return f"acoustic_torch {precision}"


def from_host(precision: str) -> str:
    """Name of ``acoustic_torch`` from arrays to arrays in the processor's memory, as it is served."""
    return f"acoustic_torch {precision}, host to host"


def waiter(device: str) -> Wait:
    """Waits until the device has done all."""
    return torch.cuda.synchronize if device == "cuda" else lambda: None


class Reference:
    """``Wav2Vec2ForCTC`` in bfloat16, without compilation, with the attention that transformers chooses.

    From raw audio on the device to log-probabilities there, as the other engines; all rows have one length.

    Args:
        checkpoint: what is run.
        device: "cuda" or "cpu".
    """

    def __init__(self, checkpoint: Checkpoint, device: str) -> None:
        import transformers  # noqa: PLC0415 - seconds

        transformers.logging.disable_progress_bar()
        model = transformers.Wav2Vec2ForCTC.from_pretrained(
            checkpoint.folder, dtype=torch.bfloat16, local_files_only=True
        )
        self._model = model.to(device).eval().requires_grad_(requires_grad=False)
        self._normalize = bool(load_feature_extractor(checkpoint).do_normalize)
        self._device = device
        self.attention = str(getattr(model.config, "_attn_implementation", "unknown"))

    def prepare(self, audio: Floats, num_samples: Ints) -> tuple[Wait, Wait]:  # noqa: ARG002 - rows are whole
        """See :meth:`benchmarks.gpu_engines.OnnxEngine.prepare`."""
        raw = torch.from_numpy(audio).to(self._device)

        def run() -> None:
            with torch.inference_mode():
                values = raw
                if self._normalize:
                    variance, mean = torch.var_mean(raw, dim=1, keepdim=True, correction=0)
                    values = (raw - mean) / torch.sqrt(variance + VARIANCE_EPSILON)
                torch.log_softmax(self._model(values.to(torch.bfloat16)).logits.float(), dim=-1)

        return run, waiter(self._device)


class OnDevice:
    """``acoustic_torch`` on tensors that lie on the device, with results that stay there."""

    def __init__(self, engine: Any, device: str) -> None:
        self.engine = engine
        self._device = device

    def prepare(self, audio: Floats, num_samples: Ints) -> tuple[Wait, Wait]:
        """See :meth:`benchmarks.gpu_engines.OnnxEngine.prepare`; the counts are read on the processor."""
        inputs = torch.from_numpy(audio).to(self._device), torch.from_numpy(num_samples)

        def run() -> None:
            self.engine(*inputs)

        return run, waiter(self._device)

    @contextmanager
    def without_graphs(self) -> Iterator[None]:
        """Meanwhile the encoder's kernels are launched one by one: a profiler does not always see into CUDA graphs."""
        engine = self.engine
        graphs, engine._graphs = engine._graphs, None  # noqa: SLF001 - serving needs no such option
        try:
            yield
        finally:
            engine._graphs = graphs  # noqa: SLF001


class FromHost(OnDevice):
    """The same from arrays to arrays, copies included."""

    def prepare(self, audio: Floats, num_samples: Ints) -> tuple[Wait, Wait]:
        """See :meth:`benchmarks.gpu_engines.OnnxEngine.prepare`."""

        def run() -> None:
            self.engine.run(audio, num_samples)

        return run, waiter(self._device)


def engine_folder(repository: Path, precision: str, scratch: Path) -> Path:
    """The engine of a repository in another precision; the weights, in float32, are the same file."""
    folder = scratch / f"engine-{precision}"
    folder.mkdir(exist_ok=True)
    write_precision(repository / TORCH_ENGINE, folder / TORCH_ENGINE.name, precision)
    target = folder / TORCH_WEIGHTS.name
    target.unlink(missing_ok=True)
    target.hardlink_to(repository / TORCH_WEIGHTS)
    return folder


def write_precision(source: Path, target: Path, precision: str) -> None:
    """An architecture with another precision."""
    content = json.loads(source.read_text(encoding="utf-8"))
    target.write_text(json.dumps({**content, "precision": precision}, indent=2) + "\n", encoding="utf-8")


def open_torch(folder: Path, device: str) -> Any:
    """The engine of a folder, by the code that Triton serves it with."""
    code = str(ROOT / "model_repository" / "acoustic_torch" / "1")
    if code not in sys.path:
        sys.path.insert(0, code)
    from shrota_torch.engine import TorchEngine  # noqa: PLC0415 - its folder is none of Python's

    return TorchEngine(folder, device)


class Loaded:
    """Engines that are loaded, what each takes of the GPU's memory, and why some are not.

    Args:
        device: "cuda" or "cpu".
        batch: AUDIO and NUM_SAMPLES of the largest run, for which the memory is measured.
    """

    def __init__(self, device: str, batch: tuple[Floats, Ints]) -> None:
        self.engines: dict[str, Any] = {}
        self.failed: dict[str, str] = {}
        self.memory: dict[str, dict[str, int]] = {}
        self._device = device
        self._batch = batch

    def load(self, name: str, make: Callable[[], Any]) -> None:
        """Loads one and runs it once; the others are measured without it if that fails."""
        free(self._device)
        before = 0
        if self._device == "cuda":
            torch.cuda.reset_peak_memory_stats()
            before = torch.cuda.memory_allocated()
        try:
            engine = make()
            weights = torch.cuda.memory_allocated() - before if self._device == "cuda" else 0
            run, wait = engine.prepare(*self._batch)
            for _ in range(2):
                run()
                wait()
        except Exception as error:  # noqa: BLE001 - of one engine
            self.failed[name] = f"{type(error).__name__}: {' '.join(str(error).split())[:300]}"
            return
        self.engines[name] = engine
        if self._device == "cuda":
            peak = torch.cuda.max_memory_allocated() - before
            self.memory[name] = {"weights_bytes": weights, "peak_bytes": peak}

    def beside(self, name: str, engine: Any) -> None:
        """Another way of running one that is loaded."""
        self.engines[name] = engine

    def close(self) -> None:
        """Frees them."""
        self.engines.clear()
        free(self._device)


def free(device: str) -> None:
    """Gives back what nothing holds."""
    gc.collect()
    if device == "cuda":
        torch.cuda.synchronize()
        torch.cuda.empty_cache()
