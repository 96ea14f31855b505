"""Differences between what two engines give."""

from dataclasses import dataclass, field
from typing import Any

import numpy as np

from shrota_export.engines import Floats, Ints


@dataclass
class Difference:
    """Between rows of log-probabilities and what they should be, added up row by row.

    Attributes:
        frames: compared so far.
        changed: frames whose best token is another.
        broken: frames with NaN or infinity in them, in either row.
        largest: of all differences, in log-probability; infinity where a frame is broken.
        place: where that is.
        batch: AUDIO, NUM_SAMPLES of the run in which it is.
    """

    frames: int = 0
    changed: int = 0
    broken: int = 0
    largest: float = 0.0
    place: str = ""
    batch: tuple[Floats, Ints] | None = field(default=None, repr=False)
    _sum: float = 0.0
    _numbers: int = 0

    @property
    def mean(self) -> float:
        """Of the absolute difference over frames and tokens, in log-probability; infinity where a frame is broken."""
        return np.inf if self.broken else self._sum / max(1, self._numbers)

    @property
    def changed_share(self) -> float:
        """Of the frames."""
        return self.changed / max(1, self.frames)

    def add(self, name: str, row: Floats, expected: Floats, batch: tuple[Floats, Ints] | None = None) -> None:
        """Compares two rows, [F, V] each, of one shape."""
        if not len(row):
            return
        by_frame = np.abs(row - expected)
        broken = ~(np.isfinite(row) & np.isfinite(expected)).all(axis=1)
        self.broken += int(broken.sum())
        self.frames += len(row)
        self.changed += int((row.argmax(axis=1) != expected.argmax(axis=1)).sum())
        self._sum += float(by_frame[~broken].sum(dtype=np.float64))
        self._numbers += by_frame[~broken].size
        worst = np.where(broken, np.inf, by_frame.max(axis=1))
        frame = int(worst.argmax())
        if worst[frame] > self.largest or not self.place:
            self.largest = float(worst[frame])
            self.place = f"{name}, frame {frame} of {len(row)}"
            self.batch = batch

    def as_dict(self) -> dict[str, Any]:
        """In plain types; infinity as null, which JSON has."""
        return {
            "frames": self.frames,
            "frames_with_nan_or_infinity": self.broken,
            "mean": self.mean if np.isfinite(self.mean) else None,
            "largest": self.largest if np.isfinite(self.largest) else None,
            "changed_frames": self.changed_share,
        }
