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


class Capture:
    """Makes graphs whose memory, but for what they read and write, is the same: they must not run at a time.

    Args:
        device: a GPU.
    """

    def __init__(self, device: torch.device) -> None:
        self._device = device
        self._stream = torch.cuda.Stream(device)  # one, because what is freed on a stream serves that stream
        self._pool: tuple[int, int] | None = None

    def __call__(self, run: Callable[[], None]) -> "torch.cuda.CUDAGraph":
        """What ``run`` launches; it is run once before, so that all its kernels are loaded.

        What it makes and drops is the graph's; what was there before, and is read or written, must stay.
        """
        self._stream.wait_stream(torch.cuda.current_stream(self._device))
        with torch.cuda.stream(self._stream):
            run()
        torch.cuda.current_stream(self._device).wait_stream(self._stream)
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph, pool=self._pool, stream=self._stream):
            run()
        self._pool = self._pool or graph.pool()
        return graph


class Graphs:
    """Runs an encoder as graphs, which are made when they are first needed, or at once by :meth:`prepare`.

    Args:
        encode: the encoder.
        capture: makes them.
        device: a GPU.
        most_frames: of a run.
        most_rows: likewise.
        width: H.
        vocabulary: V.
    """

    def __init__(
        self,
        encode: Encode,
        capture: Capture,
        device: torch.device,
        *,
        most_frames: int,
        most_rows: int,
        width: int,
        vocabulary: int,
    ) -> None:
        self._encode = encode
        self._capture = capture
        self._most_rows = most_rows
        most = rounded(most_frames)
        self._residual = torch.zeros(most, width, device=device)
        self._blocks = torch.zeros(most_blocks(most, most_rows), 3, dtype=torch.int32, device=device)
        self._log_probs = torch.zeros(most, vocabulary, device=device)
        self._graphs: dict[int, torch.cuda.CUDAGraph] = {}

    def holds(self, frames: int, rows: int) -> bool:
        """Whether a batch fits."""
        return frames <= len(self._residual) and rows <= self._most_rows

    def prepare(self) -> None:
        """Makes all; the largest first, whose memory serves the others."""
        for size in sizes(len(self._residual)):
            self._graph(size)

    def __call__(self, frames: Tensor, place: Tensor, blocks: Tensor) -> Tensor:
        """Frames of all rows -> log-probabilities [N, V], valid until the next call.

        Args:
            frames: [M, H] float32.
            place: [N] int32, where among them those are that are run.
            blocks: see :class:`~shrota_torch.layout.Layout`.
        """
        total = len(place)
        size = rounded(total)
        graph = self._graph(size)
        torch.index_select(frames, 0, place, out=self._residual[:total])
        self._residual[total:size].zero_()
        self._blocks[: len(blocks)].copy_(blocks)
        self._blocks[len(blocks) :].zero_()
        graph.replay()
        return self._log_probs[:total]

    def _graph(self, size: int) -> "torch.cuda.CUDAGraph":
        graph = self._graphs.get(size)
        if graph is None:

            def run() -> None:
                blocks = self._blocks[: most_blocks(size, self._most_rows)]
                self._log_probs[:size].copy_(self._encode(self._residual[:size], blocks))

            self._blocks.zero_()  # those of a larger batch may lie behind the frames of this one
            graph = self._graphs[size] = self._capture(run)
        return graph
