"""Requests run together: their rows are filled up to one length, run within a bound, and parted again."""

import queue
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

Outputs = Mapping[str, NDArray[Any]]
"""LOG_PROBS [B, F, V], NUM_FRAMES [B, 1]."""
Answer = Callable[[Outputs | Exception], None]
MOST_ROWS = 128
AHEAD = 2
"""Runs that may be begun and not answered: one that the device computes, and one that comes next."""


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


class Begun(Protocol):
    """A run that was begun."""

    def wait(self) -> tuple[NDArray[np.float32], NDArray[np.int32]]:
        """LOG_PROBS and NUM_FRAMES, when they are there."""
        ...


class Engine(Protocol):
    """What runs batches."""

    def buffer(self, rows: int, samples: int) -> NDArray[np.float32]:
        """Memory for AUDIO."""
        ...

    def begin(self, audio: NDArray[np.float32], num_samples: NDArray[np.int32]) -> Begun:
        """Begins a run of AUDIO [B, T], NUM_SAMPLES [B, 1]."""
        ...

    def is_broken(self) -> bool:
        """Whether no run can succeed any more."""
        ...


@dataclass(frozen=True, eq=False)
class _Group:
    items: Sequence[Rows]
    answers: Sequence[Answer]


class Runner:
    """Runs items, as many at a time as the bound allows, and answers each, from a thread, when its run is done.

    If a joint run fails, its items are run one by one, so that a bad one fails alone.

    Args:
        engine: called by whoever calls :meth:`run`; only its runs are waited for in the thread.
        most_samples: rows times longest row of one run; an item that is larger is run alone.
        give_up: called with the reason, once those who are concerned have their errors, when the engine is broken.
    """

    def __init__(self, engine: Engine, most_samples: int, give_up: Callable[[str], None]) -> None:
        self._engine = engine
        self._most_samples = most_samples
        self._give_up = give_up
        self._begun: queue.SimpleQueue[tuple[_Group, Begun] | None] = queue.SimpleQueue()
        self._places = threading.Semaphore(AHEAD)
        self._calling = threading.Lock()
        self._thread = threading.Thread(target=self._answer, name="answers", daemon=True)
        self._thread.start()

    def run(self, items: Sequence[Rows], answers: Sequence[Answer]) -> None:
        """Begins what there is, and returns once no more than the last runs are to be waited for.

        Args:
            items: requests.
            answers: of each; are called once.
        """
        for places in _groups(items, self._most_samples):
            group = _Group([items[place] for place in places], [answers[place] for place in places])
            self._places.acquire()
            try:
                begun = self._begin(group.items)
            except Exception as error:  # noqa: BLE001 - PyTorch's errors share no other base class
                self._places.release()
                self._run_apart(group, error)
            else:
                self._begun.put((group, begun))

    def close(self) -> None:
        """Waits for all that was begun."""
        self._begun.put(None)
        self._thread.join()

    def _begin(self, items: Sequence[Rows]) -> Begun:
        with self._calling:
            audio = self._engine.buffer(sum(len(item.audio) for item in items), _longest(items))
            start = 0
            for item in items:
                audio[start : start + len(item.audio), : item.audio.shape[1]] = item.audio
                start += len(item.audio)
            return self._engine.begin(audio, np.concatenate([item.num_samples for item in items]))

    def _answer(self) -> None:
        while (found := self._begun.get()) is not None:
            group, begun = found
            try:
                results = _parted(group.items, *begun.wait())
            except Exception as error:  # noqa: BLE001 - see above
                self._places.release()
                self._run_apart(group, error)
                continue
            self._places.release()
            for answer, result in zip(group.answers, results, strict=True):
                answer(result)

    def _run_apart(self, group: _Group, error: Exception) -> None:
        """Each item alone, after all together failed."""
        result: Outputs | Exception = error
        for item, answer in zip(group.items, group.answers, strict=True):
            result = error
            if len(group.items) > 1:
                try:
                    (result,) = _parted([item], *self._begin([item]).wait())
                except Exception as own:  # noqa: BLE001 - see above
                    result = own
            answer(result)
        if isinstance(result, Exception) and self._engine.is_broken():
            self._give_up(f"the device is broken: {' '.join(str(error).split())[:300]}")


def _longest(items: Sequence[Rows]) -> int:
    return max(item.audio.shape[1] for item in items)


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


def _parted(items: Sequence[Rows], log_probs: NDArray[np.float32], num_frames: NDArray[np.int32]) -> Sequence[Outputs]:
    results: list[Outputs] = []
    start = 0
    for item in items:
        stop = start + len(item.audio)
        frames = log_probs.shape[1] if len(items) == 1 else max(1, int(num_frames[start:stop].max(initial=0)))
        results.append({"LOG_PROBS": log_probs[start:stop, :frames], "NUM_FRAMES": num_frames[start:stop]})
        start = stop
    return results
