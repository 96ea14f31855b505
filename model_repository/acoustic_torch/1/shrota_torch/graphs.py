"""The encoder as CUDA graphs: hundreds of launches become one, which is most of the time of a small batch.

A graph has one number of frames. Numbers are rounded up, what is left over belongs to no row of the batch, and so a few
dozen graphs serve all batches. Rows are filled up with empty ones to a fixed number for the same reason.
"""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

MOST_ROWS = 129
"""Places for rows in a graph, one of them for what is left over; more are run without one."""
LONGEST = 1024
"""Frames of one row in a graph, 20 s and more."""
MOST_FRAMES = 32768
"""Of a graph; more are run without one: their launches are hidden behind what runs."""
WARM_UPS = 2
Encode = Callable[[Tensor, Tensor, int], Tensor]


def rounded(frames: int) -> int:
    """The frames of the graph that runs so many: an eighth more at most, or 63, and never more than a row's."""
    step = 64
    while step * 16 < frames and step < LONGEST:
        step *= 2
    return -(-frames // step) * step


@dataclass(frozen=True)
class Captured:
    """A graph with the memory that it reads and writes."""

    graph: "torch.cuda.CUDAGraph"
    residual: Tensor
    starts: Tensor
    log_probs: Tensor


class Graphs:
    """Runs an encoder, as a graph where that can be.

    Args:
        encode: residual [N, H] float32, starts [R + 1] int32, longest row -> [N, V].
        device: to run on; without graphs where it is no GPU.
    """

    def __init__(self, encode: Encode, device: torch.device) -> None:
        self._encode = encode
        self._device = device
        self._graphs: dict[int, Captured] = {}
        self._pool: object | None = None

    def __call__(self, packed: Tensor, starts: Tensor, total: int) -> Tensor:
        """Frames of all rows [N, H] -> log-probabilities [N, V], valid until the next call.

        Args:
            packed: frames.
            starts: [B + 1] int32, on the processor.
            total: N.
        """
        longest = int(starts.diff().max())
        rows = len(starts) - 1
        if self._device.type != "cuda" or rows >= MOST_ROWS or longest > LONGEST or total > MOST_FRAMES:
            return self._encode(packed.float().contiguous(), starts.to(self._device), longest)
        size = rounded(total)
        captured = self._graphs.get(size)
        if captured is None:
            captured = self._graphs[size] = self._capture(size, packed.shape[1])
        captured.residual[:total].copy_(packed)
        captured.residual[total:].zero_()
        # what is left over is rows of its own, none longer than a graph's longest
        filled = functional.pad(starts, (0, MOST_ROWS - rows), value=total)
        filled[-1] = size
        captured.starts.copy_(filled, non_blocking=True)
        captured.graph.replay()
        return captured.log_probs[:total]

    def _capture(self, size: int, width: int) -> Captured:
        residual = torch.zeros(size, width, device=self._device)
        starts = torch.full((MOST_ROWS + 1,), size, dtype=torch.int32, device=self._device)
        starts[0] = 0
        side = torch.cuda.Stream(self._device)
        side.wait_stream(torch.cuda.current_stream(self._device))
        with torch.cuda.stream(side):
            for _ in range(WARM_UPS):
                self._encode(residual, starts, LONGEST)
        torch.cuda.current_stream(self._device).wait_stream(side)
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph, pool=self._pool):
            log_probs = self._encode(residual, starts, LONGEST)
        self._pool = self._pool or graph.pool()
        return Captured(graph, residual, starts, log_probs)
