"""A step's two ways through the model, forwards and backwards, on a GPU as CUDA graphs: one launch each.

A step launches some thousand operations, each in less time than Python needs to ask for it. Batches have few shapes, so
each shape is recorded once, and played back with other audio in the same place.
"""

import contextlib
from collections.abc import Iterator, Sequence

import torch
from torch import Tensor, nn

from shrota_training.recogniser import Recogniser

WARM_UP_ROUNDS = 3
ALIGNMENT = 4  # numbers; operations on many tensors at once are faster where each begins at 16 bytes


class Gradients:
    """All gradients of some parameters side by side in one tensor, so that processes average them in one go."""

    def __init__(self, parameters: Sequence[nn.Parameter]) -> None:
        self.parameters = [parameter for parameter in parameters if parameter.requires_grad]
        starts, size = [], 0
        for parameter in self.parameters:
            starts.append(size)
            size += -(-parameter.numel() // ALIGNMENT) * ALIGNMENT
        self.flat = torch.zeros(size, device=self.parameters[0].device)
        self.views: list[Tensor] = []
        for start, parameter in zip(starts, self.parameters, strict=True):
            self.views.append(self.flat[start : start + parameter.numel()].view(parameter.shape))
            parameter.grad = self.views[-1]

    def limit(self, longest: float) -> None:
        """Shorten the gradient to a length; one that is not finite becomes zero."""
        norm = self.flat.norm()
        share = (longest / (norm + 1e-6)).clamp(max=1.0)
        torch.where(norm.isfinite(), self.flat * share, torch.zeros_like(self.flat), out=self.flat)


@contextlib.contextmanager
def mixed(device: torch.device) -> Iterator[None]:
    """Compute in bfloat16 where that is enough. Casts of weights are not kept, which recorded graphs forbid."""
    with torch.autocast(device.type, torch.bfloat16, cache_enabled=False):
        yield


class Passes:
    """The way through a recogniser and back, step by step."""

    def __init__(self, recogniser: Recogniser, gradients: Gradients) -> None:
        self.recogniser, self.gradients = recogniser, gradients
        self.outputs: Tensor | None = None

    def forward(self, audio: Tensor, mask_share: Tensor) -> Tensor:
        """Return log-probabilities [2, rows, frames, tokens], a leaf whose gradient `backward` takes."""
        with mixed(audio.device):
            self.outputs = self.recogniser(audio, None, mask_share)
        return self.outputs.detach().requires_grad_()

    def backward(self, gradient: Tensor) -> None:
        """Write the gradients of the parameters; `gradient` is that of what `forward` returned last."""
        self.gradients.flat.zero_()
        torch.autograd.backward(self.outputs, gradient)
        self.outputs = None


class Recorded(Passes):
    """The same for batches of one shape, [rows, samples], recorded on a GPU.

    Recordings share memory (`pool`): what `forward` returned is gone with the next one's `forward`.
    """

    def __init__(
        self, recogniser: Recogniser, gradients: Gradients, shape: tuple[int, int], pool: tuple[int, int]
    ) -> None:
        super().__init__(recogniser, gradients)
        device = gradients.flat.device
        self.audio = torch.randn(shape, device=device)
        self.mask_share = torch.zeros((), device=device)
        aside = torch.cuda.Stream()
        aside.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(aside):
            for _ in range(WARM_UP_ROUNDS):
                outputs = self._ahead()
                self._back(outputs, torch.zeros_like(outputs))
                del outputs
        torch.cuda.current_stream().wait_stream(aside)
        torch.cuda.synchronize()
        self.graphs = torch.cuda.CUDAGraph(), torch.cuda.CUDAGraph()
        with torch.cuda.graph(self.graphs[0], pool=pool, capture_error_mode="thread_local"):
            outputs = self._ahead()
        self.gradient = torch.zeros_like(outputs)
        with torch.cuda.graph(self.graphs[1], pool=pool, capture_error_mode="thread_local"):
            self._back(outputs, self.gradient)
        self.made = outputs.detach()

    def _ahead(self) -> Tensor:
        with mixed(self.audio.device):
            made: Tensor = self.recogniser(self.audio, None, self.mask_share)
        return made

    def _back(self, outputs: Tensor, gradient: Tensor) -> None:
        found = torch.autograd.grad(outputs, self.gradients.parameters, gradient)
        torch._foreach_copy_(self.gradients.views, list(found))

    def forward(self, audio: Tensor, mask_share: Tensor) -> Tensor:
        """Return log-probabilities [2, rows, frames, tokens], a leaf whose gradient `backward` takes."""
        self.audio.copy_(audio)
        self.mask_share.copy_(mask_share)
        self.graphs[0].replay()
        return self.made.detach().requires_grad_()

    def backward(self, gradient: Tensor) -> None:
        """Write the gradients of the parameters; `gradient` is that of what `forward` returned last."""
        self.gradient.copy_(gradient)
        self.graphs[1].replay()


class AllPasses:
    """Chooses the recording that fits a batch, and records where there is none yet."""

    def __init__(self, recogniser: Recogniser, gradients: Gradients, *, record: bool) -> None:
        self.recogniser, self.gradients = recogniser, gradients
        self.plain = Passes(recogniser, gradients)
        self.pool: tuple[int, int] | None = torch.cuda.graph_pool_handle() if record else None
        self.recorded: dict[tuple[int, int], Recorded] = {}

    def of(self, shape: tuple[int, int]) -> Passes:
        """Return the passes for batches of a shape, [rows, samples]."""
        if self.pool is None:
            return self.plain
        if shape not in self.recorded:
            self.recorded[shape] = Recorded(self.recogniser, self.gradients, shape, self.pool)
        return self.recorded[shape]
