"""Requests run together: their rows are filled up to one length, run within a bound, and parted again."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

Run = Callable[[NDArray[np.float32], NDArray[np.int32]], tuple[NDArray[np.float32], NDArray[np.int32]]]
"""AUDIO [B, T], NUM_SAMPLES [B, 1] -> LOG_PROBS [B, F, V], NUM_FRAMES [B, 1]."""
MOST_ROWS = 128


class RowsError(ValueError):
    """Inputs that are no rows of audio."""


@dataclass(frozen=True, eq=False)
class Rows:
    """One request.

    Attributes:
        audio: [B, T].
        num_samples: [B, 1], from 0 to T.
    """

    audio: NDArray[np.float32]
    num_samples: NDArray[np.int32]

    @classmethod
    def of(cls, audio: NDArray[np.float32], num_samples: NDArray[np.int32]) -> "Rows":
        """From what was sent.

        Raises:
            RowsError: the shapes do not go together.
        """
        if audio.ndim != 2 or num_samples.shape != (len(audio), 1):  # noqa: PLR2004 - rows of samples
            shapes = f"AUDIO {list(audio.shape)} with NUM_SAMPLES {list(num_samples.shape)}"
            raise RowsError(f"{shapes}: send [rows, samples] and [rows, 1]")
        return cls(audio, num_samples.clip(0, audio.shape[1]).astype(np.int32))


def run_together(items: Sequence[Rows], run: Run, most_samples: int) -> list[Mapping[str, NDArray[Any]] | Exception]:
    """Runs all items, as many at a time as the bound allows; gives each its own outputs, or its own error.

    If a joint run fails, its items are run one by one, so that a bad one fails alone.

    Args:
        items: requests.
        run: the engine.
        most_samples: rows times longest row of one run; an item that is larger is run alone.
    """
    results: dict[int, Mapping[str, NDArray[Any]] | Exception] = {}
    for places in _groups(items, most_samples):
        results.update(zip(places, _run([items[place] for place in places], run), strict=True))
    return [results[place] for place in range(len(items))]


def _groups(items: Sequence[Rows], most_samples: int) -> Iterator[list[int]]:
    """Places of items that go together: of like length, within the bound."""
    group: list[int] = []
    rows = longest = 0
    for place in sorted(range(len(items)), key=lambda each: items[each].audio.shape[1]):
        count, length = items[place].audio.shape
        if group and (max(longest, length) * (rows + count) > most_samples or rows + count > MOST_ROWS):
            yield group
            group, rows, longest = [], 0, 0
        group.append(place)
        rows, longest = rows + count, max(longest, length)
    if group:
        yield group


def _run(items: Sequence[Rows], run: Run) -> list[Mapping[str, NDArray[Any]] | Exception]:
    try:
        log_probs, num_frames = run(*_joined(items))
    except Exception as error:  # noqa: BLE001 - PyTorch's errors share no other base class
        if len(items) == 1:
            return [error]
        return [result for item in items for result in _run([item], run)]
    results: list[Mapping[str, NDArray[Any]] | Exception] = []
    start = 0
    for item in items:
        stop = start + len(item.audio)
        frames = log_probs.shape[1] if len(items) == 1 else max(1, int(num_frames[start:stop].max(initial=0)))
        results.append({"LOG_PROBS": log_probs[start:stop, :frames], "NUM_FRAMES": num_frames[start:stop]})
        start = stop
    return results


def _joined(items: Sequence[Rows]) -> tuple[NDArray[np.float32], NDArray[np.int32]]:
    if len(items) == 1:  # nothing to copy
        return items[0].audio, items[0].num_samples
    longest = max(item.audio.shape[1] for item in items)
    audio = np.zeros((sum(len(item.audio) for item in items), longest), np.float32)
    start = 0
    for item in items:
        audio[start : start + len(item.audio), : item.audio.shape[1]] = item.audio
        start += len(item.audio)
    return audio, np.concatenate([item.num_samples for item in items])
