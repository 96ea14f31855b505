"""Where the frames of rows lie: padded, row by row, and one behind the other; and what attention has to do."""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

BLOCK = 128
"""Frames of a row whose attention one program computes."""


class Layout(NamedTuple):
    """Of a batch of rows, on the processor."""

    place: NDArray[np.int32]
    """[N] where each frame lies among the rows' [B * F] padded ones."""
    blocks: NDArray[np.int32]
    """[K, 3] of attention: where the row begins, where it ends, and the first frame of the block, among the N."""


def most_blocks(frames: int, rows: int) -> int:
    """Of so many frames in at most so many rows."""
    return frames // BLOCK + rows


def layout(frames: NDArray[np.int64], longest: int) -> Layout:
    """Of rows with so many frames each.

    Args:
        frames: [B].
        longest: F.
    """
    starts = frames.cumsum() - frames
    row = np.repeat(np.arange(len(frames)), frames)
    place = row * longest + np.arange(frames.sum()) - starts[row]
    order = np.argsort(-frames, kind="stable")  # what takes longest first
    parts = -(-frames[order] // BLOCK)
    owner = np.repeat(order, parts)
    first = starts[owner] + BLOCK * (np.arange(len(owner)) - np.repeat(parts.cumsum() - parts, parts))
    blocks = np.stack([starts[owner], starts[owner] + frames[owner], first], axis=1)
    return Layout(place.astype(np.int32), blocks.astype(np.int32))
