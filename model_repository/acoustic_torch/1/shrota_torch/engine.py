"""Raw audio in, log-probabilities out, every row as it would be alone: the frames of all rows one behind the other.

Nothing is computed for padding but in the feature extractor, whose frames see nothing behind the end of their row.

On a GPU a run is begun and its results are fetched later: the next one's audio is copied and its kernels are launched
meanwhile, so that the GPU goes from one to the next. What a single row needs is one CUDA graph from audio to
log-probabilities; of a batch, the encoder is one.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from shrota_torch.graphs import Capture, Graphs, rounded
from shrota_torch.kernels import HAS_KERNELS, add_norm
from shrota_torch.layout import BLOCK, layout
from shrota_torch.parts import Extractor, Layer, Position, Product, Product8, Weights
from shrota_torch.plan import DTYPES, Architecture, EngineFileError, read_engine

RATE = 16000
WARM_UPS = ((1, 1.0), (8, 10.0), (32, 10.0), (32, 20.0))
"""Rows, and seconds of each."""
MOST_ROWS = 128
"""Of a run that is a graph."""
LONGEST_ALONE = 1024
"""Frames of a single row that is run as one graph, 20 s and more."""
VARIANCE_EPSILON = 1e-7
"""What ``Wav2Vec2FeatureExtractor.zero_mean_unit_var_norm`` adds to the variance."""


class Run(NamedTuple):
    """A run that was begun."""

    log_probs: Tensor
    """[B, F, V] float32, on the processor, once it is done."""
    num_frames: NDArray[np.int32]
    """[B, 1]"""
    done: "torch.cuda.Event | None" = None

    def wait(self) -> tuple[NDArray[np.float32], NDArray[np.int32]]:
        """LOG_PROBS [B, F, V] and NUM_FRAMES [B, 1], when they are there.

        Raises:
            RuntimeError: of CUDA.
        """
        if self.done is not None:
            self.done.synchronize()
        return self.log_probs.numpy(), self.num_frames


class _Alone(NamedTuple):
    """The graph of a single row."""

    graph: "torch.cuda.CUDAGraph"
    audio: Tensor
    """[1, T]"""
    counts: Tensor
    """[1] int32"""
    log_probs: Tensor
    """[F, V]"""


class TorchEngine:
    """The engine of a folder. Calls must not overlap; runs that were begun may.

    Args:
        folder: with ``engine.json`` and ``engine.safetensors``.
        device: to run on.
        most_samples: rows times longest row of the largest run for which memory is kept; a larger one takes it anew.

    Raises:
        EngineFileError: a file is missing or damaged, or the kernels cannot be compiled here.
    """

    def __init__(self, folder: Path, device: str, most_samples: int = 640 * RATE) -> None:
        self.architecture, tensors = read_engine(folder)
        self.device = torch.device(device)
        if self.device.type == "cuda" and not HAS_KERNELS:
            raise EngineFileError("PyTorch here lacks the package triton, which compiles the kernels: install it")
        self.dtype = DTYPES[self.architecture.precision]
        weights = Weights(tensors, "", self.device, self.dtype, self.architecture.epsilon)
        self._extract = Extractor(weights.part("extractor"), self.architecture.kernels, self.architecture.strides)
        self._projection_norm = weights.norm("projection.norm")
        self._projection = weights.low("projection.bias"), weights.low("projection.weight")
        self._position = Position(weights.part("position"))
        self._layers = [
            Layer(weights.part(f"layers.{index}"), self.architecture.heads, self._product(index))
            for index in range(self.architecture.layers)
        ]
        self._final = weights.norm("final")
        self._head = weights.low("head.bias"), weights.low("head.weight")
        self._vocabulary = len(self._head[0])
        self._most_samples = most_samples
        self._graphs: Graphs | None = None
        self._alone: dict[int, _Alone] = {}
        if self.device.type == "cuda":
            self._streams = [torch.cuda.Stream(self.device) for _ in range(3)]
            self._capture = Capture(self.device)
            self._graphs = Graphs(
                self._encode,
                self._capture,
                self.device,
                most_frames=max(LONGEST_ALONE, most_samples // self.architecture.stride),
                most_rows=MOST_ROWS,
                width=self._projection[1].shape[1],
                vocabulary=self._vocabulary,
            )

    def _product(self, layer: int) -> type[Product]:
        """In 8 bits, but for the first and the last layer, which would add most of what that changes."""
        inner = 0 < layer < self.architecture.layers - 1
        return Product8 if self.architecture.precision == "fp8" and inner else Product

    def buffer(self, rows: int, samples: int) -> NDArray[np.float32]:
        """Memory for AUDIO [rows, samples] of :meth:`begin`, from where it goes to the device soonest."""
        memory: NDArray[np.float32] = self._host(rows, samples, like=rows * samples).numpy()
        return memory

    def _host(self, *shape: int, like: int) -> Tensor:
        """Memory of the processor's, locked unless the run of so many samples is larger than usual: locked stays so."""
        return torch.empty(shape, pin_memory=self.device.type == "cuda" and like <= self._most_samples)

    def is_broken(self) -> bool:
        """Whether the device fails whatever it is asked, as after an illegal access, until the process ends."""
        if self.device.type != "cuda":
            return False
        try:
            torch.cuda.synchronize(self.device)
        except RuntimeError:
            return True
        return False

    def begin(self, audio: NDArray[np.float32], num_samples: NDArray[np.int32]) -> Run:
        """Begins a run.

        Args:
            audio: [B, T], which may be changed once this returns if it is no :meth:`buffer`.
            num_samples: [B, 1], what of each row is audio; whatever lies behind it does not matter.

        Raises:
            RuntimeError: of CUDA.
        """
        with torch.inference_mode():
            source = torch.from_numpy(audio)
            if self.device.type != "cuda":
                log_probs, num_frames = self._run(source, num_samples)
                return Run(log_probs, num_frames)
            inward, compute, outward = self._streams
            with torch.cuda.stream(inward):
                moved = source.to(self.device, non_blocking=True)
            compute.wait_stream(inward)
            moved.record_stream(compute)
            with torch.cuda.stream(compute):
                log_probs, num_frames = self._run(moved, num_samples)
            outward.wait_stream(compute)
            log_probs.record_stream(outward)
            with torch.cuda.stream(outward):
                fetched = self._host(*log_probs.shape, like=audio.size)
                fetched.copy_(log_probs, non_blocking=True)
                return Run(fetched, num_frames, outward.record_event())

    def run(
        self, audio: NDArray[np.float32], num_samples: NDArray[np.int32]
    ) -> tuple[NDArray[np.float32], NDArray[np.int32]]:
        """Begins a run and waits for it."""
        return self.begin(audio, num_samples).wait()

    def __call__(self, audio: Tensor, num_samples: Tensor) -> tuple[Tensor, Tensor]:
        """AUDIO [B, T] float32 on the device, and NUM_SAMPLES [B, 1] int32 on the processor.

        Returns:
            LOG_PROBS [B, F, V] float32 on the device, natural log, zero behind a row's frames; NUM_FRAMES [B, 1] int32
            on the processor.
        """
        with torch.inference_mode():
            log_probs, num_frames = self._run(audio, num_samples.numpy())
            return log_probs, torch.from_numpy(num_frames)

    def warm_up(self) -> None:
        """Compiles the kernels and makes the graphs."""
        for rows, seconds in WARM_UPS if self.device.type == "cuda" else WARM_UPS[:1]:
            samples = round(RATE * seconds)
            if rows * samples > self._most_samples:
                continue  # such a run never comes from those who keep to the bound
            self.run(np.zeros((rows, samples), np.float32), np.full((rows, 1), samples, np.int32))
        if self._graphs is not None:
            with torch.inference_mode(), torch.cuda.stream(self._streams[1]):
                self._graphs.prepare()
                for size in range(LONGEST_ALONE, 0, -rounded(1)):
                    self._graph_alone(size)
            torch.cuda.synchronize(self.device)

    def _run(self, audio: Tensor, num_samples: NDArray[np.int32]) -> tuple[Tensor, NDArray[np.int32]]:
        """As calling it, on the stream that is current, but for NUM_FRAMES and NUM_SAMPLES, which are arrays."""
        counts = num_samples.reshape(-1).astype(np.int64).clip(0, audio.shape[1])
        frames = frames_of(counts, self.architecture)
        longest = max(0, (audio.shape[1] - self.architecture.receptive_field) // self.architecture.stride + 1)
        num_frames = frames.astype(np.int32).reshape(-1, 1)
        if not frames.any():
            return torch.zeros(len(audio), longest, self._vocabulary, device=self.device), num_frames
        if self._graphs is not None and len(audio) == 1 and longest <= LONGEST_ALONE:
            return self._run_alone(audio, int(counts[0]), longest), num_frames
        total = int(frames.sum())
        laid = layout(frames, longest)
        lengths = self._moved(counts.astype(np.int32), frames.astype(np.int32), laid.place, laid.blocks.reshape(-1))
        hidden = self._front(audio, lengths[0], lengths[1])
        packed = hidden.reshape(-1, hidden.shape[2])
        place, blocks = lengths[2], lengths[3].view(-1, 3)
        if self._graphs is not None and self._graphs.holds(total, len(audio)):
            found = self._graphs(packed, place, blocks)
        else:
            found = self._encode(packed.index_select(0, place), blocks)
        log_probs = torch.zeros(len(audio) * longest, self._vocabulary, device=self.device)
        log_probs.index_copy_(0, place.long(), found)
        return log_probs.view(len(audio), longest, -1), num_frames

    def _run_alone(self, audio: Tensor, count: int, longest: int) -> Tensor:
        """A single row."""
        alone = self._graph_alone(rounded(longest))
        alone.audio[:, : audio.shape[1]].copy_(audio)
        alone.counts.fill_(count)
        alone.graph.replay()
        return alone.log_probs[None, :longest].clone()

    def _graph_alone(self, size: int) -> _Alone:
        """The graph of a single row of at most so many frames."""
        found = self._alone.get(size)
        if found is not None:
            return found
        architecture = self.architecture
        # with what gives no frame any more, but counts for the mean and the variance of all
        audio = torch.zeros(1, size * architecture.stride + architecture.receptive_field, device=self.device)
        counts = torch.zeros(1, dtype=torch.int32, device=self.device)
        log_probs = torch.zeros(size, self._vocabulary, device=self.device)

        def run() -> None:
            first = torch.arange(0, size, BLOCK, dtype=torch.int32, device=self.device)
            frames = torch.div(counts - architecture.receptive_field, architecture.stride, rounding_mode="floor") + 1
            hidden = self._front(audio, counts, frames)[0, :size]
            blocks = torch.stack([torch.zeros_like(first), frames.expand(len(first)), first], dim=1)
            inside = torch.arange(size, device=self.device)[:, None] < frames
            log_probs.copy_(self._encode(hidden.contiguous(), blocks).masked_fill(~inside, 0.0))

        self._alone[size] = _Alone(self._capture(run), audio, counts, log_probs)
        return self._alone[size]

    def _moved(self, *arrays: NDArray[np.int32]) -> Sequence[Tensor]:
        """Small arrays to the device, in one copy."""
        joined = torch.from_numpy(np.concatenate(arrays))
        if self.device.type == "cuda":
            joined = joined.pin_memory().to(self.device, non_blocking=True)
        parts: Sequence[Tensor] = joined.split([len(array) for array in arrays])
        return parts

    def _front(self, audio: Tensor, counts: Tensor, frames: Tensor) -> Tensor:
        """Audio [B, T] -> [B, F, H] float32, of which only the rows' frames mean something.

        Args:
            audio: see above.
            counts: [B], samples that are audio.
            frames: [B], that they give.
        """
        longest = max(1, (audio.shape[1] - self.architecture.receptive_field) // self.architecture.stride + 1)
        audio = self._normalized(audio, counts)
        audio = functional.pad(audio, (0, -audio.shape[1] % self.architecture.stride)).contiguous()
        features = self._extract(audio)[:, :longest]
        rows, count, width = features.shape
        flat = features.reshape(rows * count, width)
        norm = self._projection_norm
        flat = functional.layer_norm(flat.float(), norm.normalized_shape, norm.weight, norm.bias, norm.eps)
        bias, weight = self._projection
        hidden = torch.addmm(bias, flat.to(self.dtype), weight).view(rows, count, -1)
        is_frame = torch.arange(count, device=self.device) < frames[:, None]
        hidden = hidden.masked_fill(~is_frame.unsqueeze(2), 0.0)
        return hidden.float() + self._position(hidden)

    def _normalized(self, audio: Tensor, counts: Tensor) -> Tensor:
        """Zero behind the end of each row, whatever lies there, and zero mean and unit variance if so configured."""
        is_audio = torch.arange(audio.shape[1], device=self.device) < counts[:, None]
        audio = audio.masked_fill(~is_audio, 0.0)
        if not self.architecture.normalize:
            return audio
        size = counts[:, None].clamp(min=1).float()
        deviation = (audio - audio.sum(1, keepdim=True) / size).masked_fill(~is_audio, 0.0)
        variance = deviation.square().sum(1, keepdim=True) / size
        return deviation / torch.sqrt(variance + VARIANCE_EPSILON)

    def _encode(self, residual: Tensor, blocks: Tensor) -> Tensor:
        """The encoder and the head: residual [N, H] float32, which is changed -> log-probabilities [N, V] float32.

        ``blocks`` are those of :class:`~shrota_torch.layout.Layout`; frames in none of them mean nothing.
        """
        added: Tensor | None = None
        for layer in self._layers:
            added = layer(residual, added, blocks)
        bias, weight = self._head
        hidden = add_norm(residual, added, self._final, self.dtype)
        return torch.log_softmax(torch.addmm(bias, hidden, weight).float(), dim=-1)


def frames_of(counts: NDArray[np.int64], architecture: Architecture) -> NDArray[np.int64]:
    """How many frames so many samples give, layer by layer, as convolutions count them."""
    for kernel, stride in zip(architecture.kernels, architecture.strides, strict=True):
        counts = (counts - kernel) // stride + 1
    return counts.clip(min=0)
