"""The encoder as CUDA graphs: hundreds of launches become one, which is most of the time of a small batch.

A graph has one number of frames. Numbers are rounded up, what is left over belongs to no row of the batch, and so some
dozen graphs serve all batches. All read and write the same memory, so that each costs next to none.
"""

from collections.abc import Callable, Iterator

import torch
from torch import Tensor

from shrota_torch.layout import most_blocks

STEP, STEPS = 64, 64
"""Of the sizes of graphs: the least, and how many of one step there are at least below a size that has it."""
Encode = Callable[[Tensor, Tensor], Tensor]
"""Residual [N, H] float32, which is changed, and blocks [K, 3] of attention -> [N, V] float32."""


def _step(frames: int) -> int:
    step = STEP
    while step * STEPS < frames:
        step *= 2
    return step


def rounded(frames: int) -> int:
    """The frames of the graph that runs so many: a 32nd more at most, or 63."""
    return -(-frames // _step(frames)) * _step(frames)


def sizes(most: int) -> Iterator[int]:
    """Those of all graphs up to one that runs ``most`` frames, the largest first."""
    size = rounded(most)
    while size > 0:
        yield size
        size -= _step(size)


def capture(run: Callable[[], None], device: torch.device, pool: tuple[int, int] | None) -> "torch.cuda.CUDAGraph":
    """What ``run`` launches, as a graph; it is run once before, so that all its kernels are loaded."""
    side = torch.cuda.Stream(device)
    side.wait_stream(torch.cuda.current_stream(device))
    with torch.cuda.stream(side):
        run()
    torch.cuda.current_stream(device).wait_stream(side)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph, pool=pool, stream=side):
        run()
    return graph


class Graphs:
    """Runs an encoder as graphs, which are made when they are first needed, or at once by :meth:`prepare`.

    Args:
        encode: the encoder.
        device: a GPU.
        most_frames: of a run.
        most_rows: likewise.
        width: H.
        vocabulary: V.
    """

    def __init__(
        self, encode: Encode, device: torch.device, *, most_frames: int, most_rows: int, width: int, vocabulary: int
    ) -> None:
        self._encode = encode
        self._device = device
        self._most_rows = most_rows
        most = rounded(most_frames)
        self.residual = torch.zeros(most, width, device=device)
        self.blocks = torch.zeros(most_blocks(most, most_rows), 3, dtype=torch.int32, device=device)
        self._log_probs = torch.zeros(most, vocabulary, device=device)
        self._graphs: dict[int, torch.cuda.CUDAGraph] = {}
        self.pool: tuple[int, int] | None = None

    def holds(self, frames: int, rows: int) -> bool:
        """Whether a batch fits."""
        return frames <= len(self.residual) and rows <= self._most_rows

    def prepare(self) -> None:
        """Makes all; the largest first, whose memory serves the others."""
        for size in sizes(len(self.residual)):
            self._graph(size)

    def __call__(self, total: int) -> Tensor:
        """What lies in ``residual`` and ``blocks``, so many frames, run -> log-probabilities [N, V].

        Both are changed; the result is valid until the next call.
        """
        size = rounded(total)
        self.residual[total:size].zero_()
        self._graph(size).replay()
        return self._log_probs[:total]

    def _graph(self, size: int) -> "torch.cuda.CUDAGraph":
        graph = self._graphs.get(size)
        if graph is None:

            def run() -> None:
                blocks = self.blocks[: most_blocks(size, self._most_rows)]
                self._log_probs[:size].copy_(self._encode(self.residual[:size], blocks))

            graph = self._graphs[size] = capture(run, self._device, self.pool)
            self.pool = self.pool or graph.pool()
        return graph
