"""The engines of :mod:`benchmarks.gpu`: PyTorch and ONNX Runtime, each in every mode, on a GPU or a processor."""

import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import torch

from shrota_export.engines import Engine, Floats, Ints, make_batch
from shrota_export.graph.engine import AcousticEngine
from shrota_export.graph.normalization import count_frames
from shrota_export.precision.kinds import Precision

MODES = ("fp32", "tf32", "fp16", "bf16")
CPU_MODES = ("fp32", "fp16")
"""On a processor, where the script is only tried: ONNX Runtime has no bfloat16 there, and nothing has tf32."""
TORCH_TYPES = {"fp16": torch.float16, "bf16": torch.bfloat16}
RATE = 16000
Wait = Callable[[], None]


@dataclass(frozen=True)
class Timed:
    """Runs of one engine on one batch."""

    runs: int
    median_s: float
    least_s: float
    worst_s: float
    rows: int
    quartiles_s: tuple[float, float] | None = None
    """Between which half of the runs lie."""

    def as_dict(self) -> dict[str, float]:
        """In milliseconds, and utterances a second."""
        low, high = self.quartiles_s or (self.least_s, self.worst_s)
        return {
            "runs": self.runs,
            "median_ms": 1000 * self.median_s,
            "least_ms": 1000 * self.least_s,
            "worst_ms": 1000 * self.worst_s,
            "lower_quartile_ms": 1000 * low,
            "upper_quartile_ms": 1000 * high,
            "utterances_per_second": self.rows / self.median_s,
        }


def graph_precision(mode: str) -> Precision:
    """The graph that a mode needs; tf32 is a flag and takes the float32 one."""
    return Precision("fp32" if mode == "tf32" else mode)


def cuda_options(mode: str) -> dict[str, str]:
    """Of ONNX Runtime's CUDA provider, as `acoustic_onnx/config.pbtxt` has them."""
    return {
        "use_tf32": "1" if mode == "tf32" else "0",
        "cudnn_conv_algo_search": "HEURISTIC",
        "cudnn_conv1d_pad_to_nc1d": "1",
        "arena_extend_strategy": "kSameAsRequested",
    }


class OnnxEngine:
    """A graph in ONNX Runtime.

    Args:
        path: the graph.
        mode: one of ``MODES``.
        device: "cuda" or "cpu".

    Raises:
        RuntimeError: ONNX Runtime has no CUDA provider here, or would leave the graph to the processor.
    """

    def __init__(self, path: Path, mode: str, device: str) -> None:
        options = onnxruntime.SessionOptions()
        options.log_severity_level = 3
        options.enable_mem_pattern = False
        options.add_session_config_entry("session.force_spinning_stop", "1")  # the other engines need the processors
        providers: list[Any] = ["CPUExecutionProvider"]
        if device == "cuda":
            onnxruntime.preload_dlls()
            providers.insert(0, ("CUDAExecutionProvider", cuda_options(mode)))
        self._session = onnxruntime.InferenceSession(str(path), options, providers=providers)
        if device == "cuda" and self._session.get_providers()[0] != "CUDAExecutionProvider":
            raise RuntimeError("ONNX Runtime has no CUDA provider here: install onnxruntime-gpu and its CUDA libraries")
        self._device = device

    def __call__(self, audio: Floats, num_samples: Ints) -> tuple[Floats, Ints]:
        """From the processor's memory to the processor's memory."""
        log_probs, num_frames = self._session.run(
            ["LOG_PROBS", "NUM_FRAMES"], {"AUDIO": audio, "NUM_SAMPLES": num_samples}
        )
        return log_probs, num_frames

    def prepare(self, audio: Floats, num_samples: Ints) -> tuple[Wait, Wait]:
        """A run on inputs that lie on the device, with outputs that stay there; and what waits for its end."""
        binding = self._session.io_binding()
        for name, array in (("AUDIO", audio), ("NUM_SAMPLES", num_samples)):
            binding.bind_ortvalue_input(name, onnxruntime.OrtValue.ortvalue_from_numpy(array, self._device, 0))
        for name in ("LOG_PROBS", "NUM_FRAMES"):
            binding.bind_output(name, self._device)
        return lambda: self._session.run_with_iobinding(binding), binding.synchronize_outputs


class TorchEngine:
    """A checkpoint's engine in PyTorch: normalisation of the waveform and log-softmax in float32, all else in the mode.

    Args:
        module: the engine in float32; taken over and changed.
        mode: one of ``MODES``.
        device: "cuda" or "cpu".
    """

    def __init__(self, module: AcousticEngine, mode: str, device: str) -> None:
        self._type = TORCH_TYPES.get(mode, torch.float32)
        self._module = module.to(device=device, dtype=self._type).eval()
        self._tf32 = mode == "tf32"
        self._device = device

    def __call__(self, audio: Floats, num_samples: Ints) -> tuple[Floats, Ints]:
        """From the processor's memory to the processor's memory."""
        keep: list[Any] = []
        run, wait = self.prepare(audio, num_samples, keep)
        run()
        wait()
        log_probs, num_frames = keep[-1]
        return log_probs.cpu().numpy(), num_frames.cpu().numpy()

    def prepare(self, audio: Floats, num_samples: Ints, results: list[Any] | None = None) -> tuple[Wait, Wait]:
        """See :meth:`OnnxEngine.prepare`; outputs are added to ``results``."""
        inputs = torch.from_numpy(audio).to(self._device), torch.from_numpy(num_samples).to(self._device)

        def run() -> None:
            torch.backends.cuda.matmul.allow_tf32 = self._tf32
            torch.backends.cudnn.allow_tf32 = self._tf32
            with torch.inference_mode():
                found = self._forward(*inputs)
            if results is not None:
                results.append(found)

        return run, torch.cuda.synchronize if self._device == "cuda" else lambda: None

    def _forward(self, audio: torch.Tensor, num_samples: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        module = self._module
        audio = module.normalizer(audio, num_samples).to(self._type)
        features = module._extract(audio, num_samples)  # noqa: SLF001 - forward, with the two casts
        num_frames = count_frames(num_samples, module.receptive_field, module.stride)
        position = torch.arange(features.shape[1], device=features.device, dtype=torch.int32)
        valid = (position.unsqueeze(0) < num_frames).to(features.dtype)
        hidden = module.feature_projection(features)
        hidden = hidden[0] if isinstance(hidden, tuple) else hidden
        hidden = module._encode(hidden, valid)  # noqa: SLF001
        return torch.log_softmax(module.head(hidden).float(), dim=-1), num_frames


def batch_of(rows: int, seconds: float) -> tuple[Floats, Ints]:
    """Noise, all rows equally long."""
    random = np.random.default_rng(0)
    return make_batch([random.normal(0, 0.1, int(seconds * RATE)).astype(np.float32) for _ in range(rows)])


def time_by_turns(engines: dict[str, Any], batch: tuple[Floats, Ints], limit_s: float) -> dict[str, Timed]:
    """Runs all engines in turn, after two runs each, until the time is over (three rounds at least); {} of none."""
    if not engines:
        return {}
    prepared = {name: engine.prepare(*batch) for name, engine in engines.items()}
    times: dict[str, list[float]] = {name: [] for name in prepared}
    for run, wait in prepared.values():
        for _ in range(2):
            run()
            wait()
    end = time.monotonic() + limit_s
    while time.monotonic() < end or len(next(iter(times.values()))) < 3:
        for name, (run, wait) in prepared.items():
            started = time.perf_counter()
            run()
            wait()
            times[name].append(time.perf_counter() - started)
    return {
        name: Timed(
            len(found),
            float(np.median(found)),
            min(found),
            max(found),
            len(batch[0]),
            (float(np.quantile(found, 0.25)), float(np.quantile(found, 0.75))),
        )
        for name, found in times.items()
    }


def as_engine(engine: OnnxEngine | TorchEngine) -> Engine:
    """For the gate."""
    return lambda audio, num_samples: engine(audio, num_samples.astype(np.int32))
