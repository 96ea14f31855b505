"""Measure a checkpoint: character and word error rate with greedy decoding, for each voice of a manifest.

Works on what `make_test_set` writes (held-out voices speaking held-out phrases) and on `samples/manifest.jsonl`. The
float16 weights are computed with in float32, as they are when they are served.
"""

import argparse
import json
import re
import time
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import soundfile
import torch
from numpy.typing import NDArray
from transformers import AutoModelForCTC, AutoProcessor

from shrota_training.command import run
from shrota_training.rows import read_rows
from shrota_training.text import DEPENDENT_SIGNS

WINDOW_S = 20.0
OVERLAP_S = 2.0
STRIDE = 320


@dataclass
class ErrorRate:
    """Errors over the length of the references, in words or characters."""

    errors: int = 0
    length: int = 0

    def add(self, reference: Sequence[str], guess: Sequence[str]) -> None:
        """Count the edits between a reference and a guess."""
        row = list(range(len(guess) + 1))
        for i, wanted in enumerate(reference, 1):
            diagonal, row[0] = row[0], i
            for j, said in enumerate(guess, 1):
                diagonal, row[j] = row[j], min(row[j] + 1, row[j - 1] + 1, diagonal + (wanted != said))
        self.errors += row[-1]
        self.length += len(reference)

    def __str__(self) -> str:
        return f"{100 * self.errors / max(1, self.length):.2f} % ({self.errors}/{self.length})"


def join_signs(text: str) -> str:
    """Return a text whose words begin with letters: a sign that cannot stand alone joins what is before it.

    The server's decoder does the same.
    """
    return re.sub(f" +(?=[{''.join(sorted(DEPENDENT_SIGNS))}])", "", text)


class Recogniser:
    """A checkpoint in float32 on the CPU."""

    def __init__(self, folder: Path) -> None:
        self.processor = AutoProcessor.from_pretrained(folder)
        self.model = AutoModelForCTC.from_pretrained(folder, dtype=torch.float32).eval()

    def log_probs(self, audio: NDArray[np.float32]) -> torch.Tensor:
        """Return log-probabilities [frames, tokens] of one window."""
        inputs = self.processor(audio, sampling_rate=16_000, return_tensors="pt")
        with torch.inference_mode():
            return torch.log_softmax(self.model(**inputs).logits[0], -1)

    def transcribe(self, audio: NDArray[np.float32]) -> str:
        """Return the text; long audio is cut into 20 s windows with 2 s overlap, joined in the overlaps' middles."""
        window, overlap = int(WINDOW_S * 16_000), int(OVERLAP_S * 16_000)
        if len(audio) <= window:
            joined = self.log_probs(audio)
        else:
            pieces = []
            half = overlap // 2 // STRIDE
            for start in range(0, len(audio) - overlap, window - overlap):
                piece = self.log_probs(audio[start : start + window])
                last = start + window >= len(audio)
                pieces.append(piece[half if start else 0 : None if last else (window // STRIDE) - half])
            joined = torch.cat(pieces)
        return join_signs(self.processor.batch_decode(joined.argmax(-1)[None])[0])


def main() -> None:
    """Print the error rates of each voice and of all, and with --each every transcript."""
    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument("manifest", type=Path)
    parser.add_argument("--checkpoint", type=Path, required=True)
    parser.add_argument("--each", action="store_true", help="print every reference and transcript")
    parser.add_argument("--limit", type=int, help="only so many files")
    parser.add_argument("--report", type=Path, help="write the totals as JSON")
    parser.add_argument("--threads", type=int, default=2)
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    recogniser = Recogniser(arguments.checkpoint)
    rows = read_rows(arguments.manifest, "audio", "text")
    characters: dict[str, ErrorRate] = defaultdict(ErrorRate)
    words: dict[str, ErrorRate] = defaultdict(ErrorRate)
    files: dict[str, int] = defaultdict(int)
    audio_s = compute_s = 0.0
    for row in rows[: arguments.limit]:
        audio, _ = soundfile.read(arguments.manifest.parent / row["audio"], dtype="float32")
        start = time.perf_counter()
        guess = recogniser.transcribe(audio)
        compute_s += time.perf_counter() - start
        audio_s += len(audio) / 16_000
        own = ErrorRate()
        own.add(row["text"].split(), guess.split())
        for voice in (row.get("voice", "?"), "all"):
            characters[voice].add(row["text"], guess)
            words[voice].add(row["text"].split(), guess.split())
            files[voice] += 1
        if arguments.each:
            print(f"{row['audio']}: WER {own}\n  {row['text']}\n  {guess}")
    for voice, rate in characters.items():
        print(f"{voice}: {files[voice]} files, CER {rate}, WER {words[voice]}")
    print(f"{audio_s:.1f} s of audio in {compute_s:.1f} s on {arguments.threads} threads: {audio_s / compute_s:.1f}x")
    if arguments.report:
        totals = {
            voice: {"files": files[voice], "cer": rate.__dict__, "wer": words[voice].__dict__}
            for voice, rate in characters.items()
        }
        arguments.report.write_text(json.dumps(totals, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    run("evaluate", main)
