"""Bring recordings of people into the form that `train` reads: `speech-air_hindi.raw` and its index.

Every station that split.json does not hold out is for training, its development station for development; of the test
stations nothing is read.
"""

import argparse
import json
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from shrota_training.command import run
from shrota_training.other_voices import Speech, read
from shrota_training.rows import read_rows
from shrota_training.split import Split
from shrota_training.text import is_clean, normalise, vocabulary_letters

NAME = "air_hindi"


class Recording(NamedTuple):
    """One clip: its text, where it was broadcast, its samples, and whether it is for development."""

    text: str
    station: str
    speech: Speech
    development: bool


def recordings(manifest: Path, split: Split, letters: frozenset[str], skipped: Counter[str]) -> Iterator[Recording]:
    """Yield what may be used of a manifest; count in `skipped`, by reason, what may not."""
    phrases, texts = split.held_out(), split.held_out(manifest)
    for row in read_rows(manifest, "station", "text", "audio"):
        station, text = row["station"], normalise(row["text"])
        development = station == split.development_station
        if not development and not split.is_training_station(station):
            skipped["test station"] += 1
        elif not is_clean(text, letters):
            skipped["letters that the vocabulary lacks"] += 1
        elif (phrases if development else texts).leaks(text):  # what is for development is among the held-out texts
            skipped["close to what is held out"] += 1
        elif (speech := read(manifest.parent / row["audio"])) is None:
            skipped["silent, too short or too long"] += 1
        else:
            yield Recording(text, station, speech, development)


def main() -> None:
    """Write the recordings that may be trained on, and those for development."""
    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument("--manifest", type=Path, required=True, help="manifest.jsonl of air_hindi")
    parser.add_argument("--vocab", type=Path, required=True, help="the checkpoint's vocab.json")
    parser.add_argument("--output", type=Path, required=True)
    arguments = parser.parse_args()
    arguments.output.mkdir(parents=True, exist_ok=True)
    skipped: Counter[str] = Counter()
    minutes: Counter[str] = Counter()
    found = recordings(arguments.manifest, Split.load(), vocabulary_letters(arguments.vocab), skipped)
    raw, index = arguments.output / f"speech-{NAME}.raw", arguments.output / f"speech-{NAME}.jsonl"
    with raw.open("wb") as audio, index.open("w", encoding="utf-8") as rows:
        for recording in found:
            audio.write(recording.speech.tobytes())
            row = {"text": recording.text, "samples": recording.speech.size, "development": recording.development}
            rows.write(json.dumps(row | {"voice": recording.station}, ensure_ascii=False) + "\n")
            minutes["development" if recording.development else "training"] += recording.speech.size
    for name, samples in minutes.items():
        print(f"{name}: {samples / 16_000 / 60:.1f} min")
    for reason, count in skipped.items():
        print(f"skipped {count}: {reason}")


if __name__ == "__main__":
    run("real_speech", main)
