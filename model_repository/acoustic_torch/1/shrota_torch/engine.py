"""Raw audio in, log-probabilities out, every row as it would be alone: the frames of all rows one behind the other.

Nothing is computed for padding but in the feature extractor, whose frames see nothing behind the end of their row.
"""

from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from shrota_torch.graphs import Graphs
from shrota_torch.kernels import HAS_KERNELS, add_norm
from shrota_torch.parts import Extractor, Layer, Position, Product, Product8, Weights
from shrota_torch.plan import DTYPES, Architecture, EngineFileError, read_engine

RATE = 16000
WARM_UPS = ((1, 1.0), (1, 5.0), (1, 10.0), (1, 20.0), (8, 10.0), (32, 10.0), (32, 20.0))
"""Rows, and seconds of each."""
VARIANCE_EPSILON = 1e-7
"""What ``Wav2Vec2FeatureExtractor.zero_mean_unit_var_norm`` adds to the variance."""


class TorchEngine:
    """The engine of a folder.

    Args:
        folder: with ``engine.json`` and ``engine.safetensors``.
        device: to run on.

    Raises:
        EngineFileError: a file is missing or damaged, or the kernels cannot be compiled here.
    """

    def __init__(self, folder: Path, device: str) -> None:
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
        layers = range(self.architecture.layers)
        product = Product8 if self.architecture.precision == "fp8" else Product
        self._layers = [Layer(weights.part(f"layers.{index}"), self.architecture.heads, product) for index in layers]
        self._final = weights.norm("final")
        self._head = weights.low("head.bias"), weights.low("head.weight")
        self._graphs = Graphs(self._encode, self.device)

    def __call__(self, audio: Tensor, num_samples: Tensor) -> tuple[Tensor, Tensor]:
        """AUDIO [B, T] float32 and NUM_SAMPLES [B, 1] int32, on the processor or the device, to the device.

        Returns:
            LOG_PROBS [B, F, V] float32, natural log, zero behind a row's frames; NUM_FRAMES [B, 1] int32, on the
            processor.
        """
        with torch.inference_mode():
            counts = num_samples.reshape(-1).cpu().clamp(0, audio.shape[1])
            frames = frames_of(counts, self.architecture)
            longest = max(0, (audio.shape[1] - self.architecture.receptive_field) // self.architecture.stride + 1)
            starts = functional.pad(frames.cumsum(0), (1, 0)).to(torch.int32)
            total = int(starts[-1])
            vocabulary = self._head[0].shape[0]
            log_probs = torch.zeros(audio.shape[0], longest, vocabulary, device=self.device)
            if total:
                place = _places(frames, longest).to(self.device, non_blocking=True)
                hidden = self._front(audio.to(self.device, non_blocking=True), counts, frames)
                packed = hidden.reshape(-1, hidden.shape[2]).index_select(0, place)
                log_probs.view(-1, vocabulary).index_copy_(0, place, self._graphs(packed, starts, total))
            return log_probs, frames.to(torch.int32).reshape(-1, 1)

    def run(
        self, audio: NDArray[np.float32], num_samples: NDArray[np.int32]
    ) -> tuple[NDArray[np.float32], NDArray[np.int32]]:
        """As calling it, from arrays to arrays."""
        log_probs, num_frames = self(torch.from_numpy(audio), torch.from_numpy(num_samples))
        return log_probs.cpu().numpy(), num_frames.numpy()

    def warm_up(self) -> None:
        """Compiles the kernels and makes the graphs of the commonest sizes."""
        for rows, seconds in WARM_UPS if self.device.type == "cuda" else WARM_UPS[:1]:
            samples = round(RATE * seconds)
            self.run(np.zeros((rows, samples), np.float32), np.full((rows, 1), samples, np.int32))

    def _front(self, audio: Tensor, counts: Tensor, frames: Tensor) -> Tensor:
        """Audio [B, T] -> [B, F, H], of which only the rows' frames mean something."""
        audio = self._normalized(audio, counts.to(self.device, non_blocking=True))
        longest = max(1, (audio.shape[1] - self.architecture.receptive_field) // self.architecture.stride + 1)
        audio = functional.pad(audio, (0, -audio.shape[1] % self.architecture.stride)).contiguous()
        features = self._extract(audio)[:, :longest]
        rows, count, width = features.shape
        flat = features.reshape(rows * count, width)
        norm = self._projection_norm
        flat = functional.layer_norm(flat.float(), norm.normalized_shape, norm.weight, norm.bias, norm.eps)
        bias, weight = self._projection
        hidden = torch.addmm(bias, flat.to(self.dtype), weight).view(rows, count, -1)
        is_frame = torch.arange(count, device=self.device) < frames.to(self.device, non_blocking=True)[:, None]
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

    def _encode(self, residual: Tensor, starts: Tensor, longest: int) -> Tensor:
        """The encoder and the head: residual [N, H] float32, which is changed -> log-probabilities [N, V] float32."""
        added: Tensor | None = None
        for layer in self._layers:
            added = layer(residual, added, starts, longest)
        bias, weight = self._head
        hidden = add_norm(residual, added, self._final, self.dtype)
        return torch.log_softmax(torch.addmm(bias, hidden, weight).float(), dim=-1)


def frames_of(counts: Tensor, architecture: Architecture) -> Tensor:
    """How many frames so many samples give, layer by layer, as convolutions count them."""
    frames = counts.to(torch.int64)
    for kernel, stride in zip(architecture.kernels, architecture.strides, strict=True):
        frames = torch.div(frames - kernel, stride, rounding_mode="floor") + 1
    return frames.clamp(min=0)


def _places(frames: Tensor, longest: int) -> Tensor:
    """Where the frames of all rows lie among [B * F]."""
    row = torch.repeat_interleave(torch.arange(len(frames)), frames)
    begin = torch.repeat_interleave(frames.cumsum(0) - frames, frames)
    return row * longest + torch.arange(int(frames.sum())) - begin
