"""Training batches, made on the GPU from int16 speech that stays there.

A batch is a rectangle of rows of one of six lengths between 2.5 and 20 seconds. Each row holds utterances one after the
other with pauses between, so that the model learns every length that the server's windows have, and little is padding.
"""

import argparse
import random
from collections import defaultdict, deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from shrota_training.augment import CLEAN, USUAL, Augmenter, Strength
from shrota_training.rows import read_rows

RATE = 16_000
ROW_LENGTHS_S = (2.5, 4.0, 6.0, 9.0, 13.0, 20.0)
ROW_LENGTH_WEIGHTS = (1, 2, 2, 2, 2, 3)


@dataclass(frozen=True)
class Clip:
    """Where an utterance lies in the speech, in samples, and what it says, as token ids."""

    start: int
    samples: int
    tokens: tuple[int, ...]


@dataclass
class Batch:
    """Audio [rows, samples], normalised and zero-padded; samples [rows]; the rows' tokens joined; lengths [rows].

    Audio and tokens are on the device, the rest on the CPU.
    """

    audio: Tensor
    samples: Tensor
    tokens: Tensor
    token_counts: Tensor


def text_tokens(text: str, vocab: dict[str, int]) -> tuple[int, ...]:
    """Return the token ids of a text; words are divided by `|`."""
    return tuple(vocab[letter] for letter in text.replace(" ", "|"))


@dataclass(frozen=True)
class Source:
    """A folder of speech, and how often each of its clips comes in one round of training."""

    folder: Path
    times: int = 1

    @classmethod
    def parse(cls, text: str) -> "Source":
        """Read FOLDER or FOLDER:TIMES.

        Raises:
            argparse.ArgumentTypeError: TIMES is not a whole number of at least 1.
        """
        folder, _, times = text.rpartition(":")
        if not folder:
            return cls(Path(text))
        if not times.isdecimal() or int(times) < 1:
            message = f"{text}: after the colon goes how often the folder's clips come, 1 or more"
            raise argparse.ArgumentTypeError(message)
        return cls(Path(folder), int(times))


@dataclass
class Speech:
    """All speech, int16 on the device, and where its clips lie."""

    samples: Tensor
    training: list[Clip]
    """a clip that comes more often is in it more often"""
    development: dict[str, list[Clip]]
    """by folder"""

    def hours(self) -> float:
        """Return how long the distinct training clips are."""
        return sum(clip.samples for clip in set(self.training)) / RATE / 3600


def load_speech(sources: Sequence[Source], vocab: dict[str, int], device: str) -> Speech:
    """Load what `synthesize`, `other_voices`, `real_speech` and `pieces` wrote.

    Raises:
        FileNotFoundError: A folder holds none.
        RowsError: An index is broken.
    """
    parts: list[Tensor] = []
    training: list[Clip] = []
    development: dict[str, list[Clip]] = {}
    start = 0
    for source in sources:
        indices = sorted(source.folder.glob("speech-*.jsonl"))
        if not indices:
            message = f"no speech in {source.folder}"
            raise FileNotFoundError(message)
        for index in indices:
            part = np.fromfile(index.with_suffix(".raw"), dtype=np.int16)
            offset = 0
            for row in read_rows(index, "text", "samples", "development", empty=True):
                if offset + row["samples"] > len(part):
                    break  # it is being written, or its writing was stopped
                clip = Clip(start + offset, row["samples"], text_tokens(row["text"], vocab))
                if row["development"]:
                    development.setdefault(str(source.folder), []).append(clip)
                else:
                    training += [clip] * source.times
                offset += row["samples"]
            parts.append(torch.from_numpy(part[:offset]).to(device))
            start += offset
    return Speech(torch.cat(parts), training, development)


class Stream:
    """Gives clips in random order, for ever; one that is too long for a row waits for a row that holds it."""

    def __init__(self, clips: Sequence[Clip], rng: random.Random) -> None:
        self.clips = list(clips)
        self.rng = rng
        self.coming: deque[Clip] = deque()
        self.waiting: dict[int, deque[Clip]] = defaultdict(deque)
        """clips that were too long, by whole seconds, rounded up"""

    def take(self, limit: int, longest: int) -> Clip:
        """Return a clip of at most `limit` samples; what is longer than `longest` is passed over, not kept waiting."""
        for seconds in sorted(self.waiting, reverse=True):
            if self.waiting[seconds] and seconds * RATE <= limit:
                return self.waiting[seconds].popleft()
        while True:
            if not self.coming:
                self.rng.shuffle(self.clips)
                self.coming.extend(self.clips)
            clip = self.coming.popleft()
            if clip.samples <= limit:
                return clip
            if clip.samples <= longest:
                self.waiting[-(-clip.samples // RATE)].append(clip)


def pack(stream: Stream, row_samples: int, rows: int, longest: int) -> list[list[tuple[int, Clip]]]:
    """Fill rows with clips, each at a position in samples; a clip that does not fit begins the next row."""
    rng = stream.rng
    packed: list[list[tuple[int, Clip]]] = []
    clip = stream.take(row_samples, longest)
    while len(packed) < rows:
        row: list[tuple[int, Clip]] = []
        position = min(int(rng.uniform(0, 0.4) * RATE), row_samples - clip.samples)
        while position + clip.samples <= row_samples:
            row.append((position, clip))
            position += clip.samples + int(rng.choice((0.0, 0.1, 0.3, 0.8)) * rng.random() * RATE)
            clip = stream.take(row_samples, longest)
        packed.append(row)
    stream.coming.appendleft(clip)
    return packed


def rows_of(length_s: float, batch_s: float) -> int:
    """Return how many rows of a length a batch has."""
    return max(1, int(batch_s / length_s))


def batch_shapes(batch_s: float) -> list[tuple[int, int]]:
    """Return the shapes of the batches, [rows, samples]."""
    return [(rows_of(length_s, batch_s), int(length_s * RATE)) for length_s in ROW_LENGTHS_S]


class BatchMaker:
    """Makes batches of about `batch_s` seconds from speech on a device, with or without augmentation.

    Each augmented batch is changed in one of the given strengths, all equally often. Processes that train together get
    other clips with other seeds; with one `pace` their batches have the same shapes and effects, so that none waits.
    """

    def __init__(
        self, speech: Tensor, batch_s: float, seed: int, strengths: Sequence[Strength] = (USUAL, CLEAN), pace: int = 0
    ) -> None:
        self.speech = speech
        self.augmenters = [Augmenter(strength, pace) for strength in strengths]
        self.pace = random.Random(pace)
        self.batch_s = batch_s
        self.longest_row_s = ROW_LENGTHS_S[-1]
        self.rng = random.Random(seed)
        self.device = speech.device

    def training(self, clips: Sequence[Clip]) -> Iterator[Batch]:
        """Yield augmented batches for ever; every clip comes about equally often.

        While `longest_row_s` is less than the longest row length, longer clips are left out.
        """
        stream = Stream(clips, self.rng)
        shortest = min(clip.samples for clip in clips)
        while True:
            length_s = self.pace.choices(ROW_LENGTHS_S, ROW_LENGTH_WEIGHTS)[0]
            augmenter = self.pace.choice(self.augmenters)
            tempo, width = augmenter.tempo(), int(length_s * RATE)
            before = int(width * tempo.speed)
            if before < shortest or length_s > max(self.longest_row_s, shortest / RATE + 4):
                continue
            longest = int(max(self.longest_row_s, length_s) * RATE)
            rows = pack(stream, before, rows_of(length_s, self.batch_s), longest)
            audio, samples = augmenter(*self._assemble(rows, before, varied=True), tempo, width)
            yield self._batch(rows, audio, samples.fill_(width))  # what follows the last clip is silence, not padding

    def plain(self, clips: Sequence[Clip]) -> Iterator[Batch]:
        """Yield every clip once, alone in its row, shortest first."""
        if not clips:
            return
        ordered = sorted(clips, key=lambda clip: clip.samples)
        size = max(1, int(self.batch_s / (ordered[-1].samples / RATE)))
        for first in range(0, len(ordered), size):
            rows = [[(0, clip)] for clip in ordered[first : first + size]]
            yield self._batch(rows, *self._assemble(rows, rows[-1][0][1].samples, varied=False))

    def _assemble(
        self, rows: Sequence[Sequence[tuple[int, Clip]]], width: int, *, varied: bool
    ) -> tuple[Tensor, Tensor]:
        """Return audio [rows, width], and the rows' samples [rows] on the CPU; `varied`: in level and in silence."""
        ends = [row[-1][0] + row[-1][1].samples for row in rows]
        segments = [(r * width + at, clip.samples, clip.start) for r, row in enumerate(rows) for at, clip in row]
        total = sum(count for _, count, _ in segments)
        target, count, source = self._sent(torch.tensor(segments)).unbind(1)

        def for_each_sample(numbers: Tensor) -> Tensor:
            return torch.repeat_interleave(numbers, count, output_size=total)  # which spares asking the GPU for it

        before = torch.cumsum(count, 0) - count
        steps = torch.arange(total, device=self.device)
        picked = self.speech[for_each_sample(source - before) + steps].float() / 32768
        if varied:
            gains = 10 ** (torch.empty(len(segments), device=self.device).uniform_(-12, 0) / 20)
            picked = picked * for_each_sample(gains)
        audio = torch.zeros(len(rows) * width, device=self.device)
        audio[for_each_sample(target - before) + steps] = picked
        return audio.reshape(len(rows), width), torch.tensor(ends)

    def _batch(self, rows: Sequence[Sequence[tuple[int, Clip]]], audio: Tensor, samples: Tensor) -> Batch:
        lines = [self._line(row) for row in rows]
        return Batch(
            normalise(audio, self._sent(samples)),
            samples,
            self._sent(torch.tensor([token for line in lines for token in line])),
            torch.tensor([len(line) for line in lines]),
        )

    def _sent(self, numbers: Tensor) -> Tensor:
        """Send to the device without waiting for it, which only memory that is pinned allows."""
        return (numbers.pin_memory() if self.device.type == "cuda" else numbers).to(self.device, non_blocking=True)

    @staticmethod
    def _line(row: Sequence[tuple[int, Clip]]) -> list[int]:
        line: list[int] = []
        for _, clip in row:
            line += [*([4] if line else []), *clip.tokens]
        return line


def normalise(audio: Tensor, samples: Tensor) -> Tensor:
    """Give each row zero mean and unit variance over its samples, as Wav2Vec2FeatureExtractor does; zeros behind."""
    mask = torch.arange(audio.shape[1], device=audio.device) < samples[:, None]
    count = samples[:, None]
    audio = audio * mask
    centred = (audio - audio.sum(1, keepdim=True) / count) * mask
    return centred / (centred.square().sum(1, keepdim=True) / count + 1e-7).sqrt()
