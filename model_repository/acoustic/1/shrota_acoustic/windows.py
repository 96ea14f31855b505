"""Windows over long audio, and which frames of each are kept.

Audio of up to one window is run whole. Longer audio is cut into windows of one length that overlap. Their starts are
multiples of the stride, so that frame k of a window that starts at frame s is frame s + k of the whole, and together
they give exactly the frames that the whole would give. The windows are spread evenly: none is shorter than the
others, and each overlaps its neighbours by the overlap asked for or more. Of an overlap the first half is taken from
the earlier window and the second half from the later one, so that every frame has context on both sides.
"""

import math
from dataclasses import dataclass
from itertools import pairwise

from shrota_acoustic.settings import Frontend


@dataclass(frozen=True)
class Window:
    """A piece of one utterance. Frames are counted from the start of the utterance."""

    start: int
    """First sample."""
    length: int
    """Samples."""
    first_frame: int
    """First frame that is kept of this window."""
    end_frame: int
    """One past the last frame that is kept."""
    skip: int
    """Frames at the window's start that the window before gives."""

    @property
    def kept_frames(self) -> int:
        """How many frames are kept."""
        return self.end_frame - self.first_frame


def plan_windows(samples: int, frontend: Frontend, window: int, overlap: int) -> list[Window]:
    """Plans the windows of one utterance.

    Args:
        samples: Length of the utterance.
        frontend: Stride and receptive field.
        window: Longest piece, in samples, that is run whole; holds more frames than ``overlap``.
        overlap: Least number of samples that two neighbours share.

    Returns:
        Windows in order. All have the same length, and their kept frames are those of the whole utterance, each once.
    """
    frames = frontend.frames(samples)
    if samples <= window:
        return [Window(0, samples, 0, frames, 0)]
    window_frames = frontend.frames(window)
    overlap_frames = math.ceil(overlap / frontend.stride)
    beyond = frames - window_frames
    count = math.ceil(beyond / (window_frames - overlap_frames)) + 1
    # floor keeps every hop at most window_frames - overlap_frames: the hops of a floor of evenly spaced numbers are
    # their spacing rounded down or up, and the spacing is at most that whole number
    starts = [index * beyond // max(1, count - 1) for index in range(count)]
    inner = [(earlier + window_frames + later) // 2 for earlier, later in pairwise(starts)]
    cuts = [0, *inner, frames]
    length = frontend.samples(window_frames)
    return [
        Window(start * frontend.stride, length, first, end, first - start)
        for start, (first, end) in zip(starts, pairwise(cuts), strict=True)
    ]
