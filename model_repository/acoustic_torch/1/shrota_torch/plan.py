"""What the export writes: ``engine.json``, the architecture, and ``engine.safetensors``, the weights in float32."""

import json
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

ARCHITECTURE, WEIGHTS = "engine.json", "engine.safetensors"
DTYPES = {"fp16": torch.float16, "bf16": torch.bfloat16, "fp32": torch.float32, "fp8": torch.float16}
"""Of matrix products and of what goes from one to the next; of "fp8" of those that are not in 8 bits."""
REMEDY = "export again with `shrota export torch`"


class EngineFileError(ValueError):
    """A file of the engine is missing or damaged."""


@dataclass(frozen=True)
class Architecture:
    """The numbers that the weights do not say.

    Attributes:
        kernels: of the convolutions, in what the layer before gives.
        strides: likewise.
        heads: of attention.
        epsilon: of every LayerNorm.
        normalize: whether the waveform is normalised.
        precision: "fp16", "bf16" or "fp8" (float16, and e4m3 for the products of the encoder's inner layers); "fp32" on
            a processor only.
        layers: of the encoder.
    """

    kernels: tuple[int, ...]
    strides: tuple[int, ...]
    heads: int
    epsilon: float
    normalize: bool
    precision: str
    layers: int

    @property
    def stride(self) -> int:
        """Samples from one frame to the next."""
        product = 1
        for stride in self.strides:
            product *= stride
        return product

    @property
    def receptive_field(self) -> int:
        """Samples that a frame sees."""
        field = 1
        for kernel, stride in zip(reversed(self.kernels), reversed(self.strides), strict=True):
            field = (field - 1) * stride + kernel
        return field

    def write(self, path: Path) -> None:
        """As JSON."""
        path.write_text(json.dumps(asdict(self), indent=2) + "\n", encoding="utf-8")


def read_engine(folder: Path) -> tuple[Architecture, dict[str, Tensor]]:
    """The architecture and the weights, on the processor.

    Raises:
        EngineFileError: a file is missing or damaged.
    """
    try:
        fields = json.loads((folder / ARCHITECTURE).read_text(encoding="utf-8"))
        fields["kernels"], fields["strides"] = tuple(fields["kernels"]), tuple(fields["strides"])
        architecture = Architecture(**fields)
        tensors = load_file(folder / WEIGHTS)
    except FileNotFoundError as error:
        raise EngineFileError(f"{error.filename or folder} is missing: {REMEDY}") from error
    except (OSError, ValueError, KeyError, TypeError, AttributeError, SafetensorError) as error:
        raise EngineFileError(f"the engine in {folder} cannot be read ({error}): {REMEDY}") from error
    if architecture.precision not in DTYPES:
        raise EngineFileError(f"{ARCHITECTURE} names the precision {architecture.precision!r}: {REMEDY}")
    return architecture, tensors
