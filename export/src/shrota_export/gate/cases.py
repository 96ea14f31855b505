"""The situations in which an engine must give the same: at full batch, beside padding, at its shortest and longest."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np

from shrota_export.engines import NO_AUDIO, Floats
from shrota_export.gate.speech import WINDOW_SECONDS, spread

BATCH_SECONDS = 40
"""Rows times longest row of a batch (``batch_budget_seconds`` of ``acoustic``)."""
BATCH_ROWS = 64
"""``max_batch_size`` of the engines."""
WINDOWS = 16
"""That are run in batches: enough for each length, and for short beside long."""
PADDED_WINDOWS = 4
"""That are run beside padding up to the longest window."""


@dataclass(frozen=True)
class Run:
    """One batch: rows of [samples], and what is put behind each."""

    case: str
    rows: tuple[Floats, ...]
    behind: Floats = field(default_factory=lambda: NO_AUDIO)
    width: int = 0


CASES = {
    "full batch": "at full batch",
    "padding": "beside padding",
    "shortest": "at the shortest window",
    "longest": "at the longest window",
}
"""Beside ``alone``, in which all speech is run."""


def make_runs(windows: Sequence[Floats], receptive_field: int, sample_rate: int) -> Iterator[Run]:
    """The runs of all cases.

    Args:
        windows: all speech, [samples] each.
        receptive_field: samples that give one frame.
        sample_rate: Hz.
    """
    chosen = spread([window for window in windows if window.size >= receptive_field], WINDOWS)
    for rows in _batches(chosen, BATCH_SECONDS * sample_rate):
        yield Run("full batch", rows)
    length = BATCH_SECONDS * sample_rate // BATCH_ROWS
    short = [window[:length] for window in chosen]
    yield Run("full batch", tuple(short[index % len(short)] for index in range(BATCH_ROWS)))

    random = np.random.default_rng(0)
    for window in spread(chosen, PADDED_WINDOWS):
        missing = WINDOW_SECONDS * sample_rate - window.size
        noise = random.normal(0.5, 0.5, max(sample_rate // 3, missing)).astype(np.float32)
        yield Run("padding", (window,), behind=noise)

    longest = max(chosen, key=lambda window: window.size)
    middle = (longest.size - receptive_field) // 2
    shortest = longest[middle : middle + receptive_field]
    yield Run("shortest", (shortest,))
    # beside rows that must give no frame at all
    yield Run("shortest", (shortest[:0], shortest[:-1], shortest, longest))

    speech = np.concatenate(chosen)
    whole = np.resize(speech, WINDOW_SECONDS * sample_rate)  # repeats what is too little
    yield Run("longest", (whole,))
    yield Run("longest", (whole, np.roll(whole, whole.size // 2)))


def _batches(windows: Sequence[Floats], budget: int) -> Iterator[tuple[Floats, ...]]:
    """Neighbours together, within rows times longest row."""
    rows: list[Floats] = []
    for window in windows:
        longest = max(window.size, *(row.size for row in rows)) if rows else window.size
        if rows and (len(rows) + 1) * longest > budget:
            yield tuple(rows)
            rows = []
        rows.append(window)
    if rows:
        yield tuple(rows)
