"""Write what a checkpoint is scored on beside `make_test_set`: held-out stations' recordings, and telephone versions.

The development station's recordings are there to tune a decoder with; nothing is scored on them.

Each set is a folder of WAV files and a manifest that `shrota score` reads. A telephone version is what
`augment.telephone` makes: 300 to 3,400 Hz at 8 kHz with 8 bits of mu-law, at 16 kHz again. A fifth of the rows that a
checkpoint is trained on go through the same formula: a real line will differ more.
"""

import argparse
import json
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np
import soundfile
import soxr
import torch
from numpy.typing import NDArray

from shrota_training.augment import RATE, telephone
from shrota_training.command import require, run
from shrota_training.rows import read_rows
from shrota_training.split import Split
from shrota_training.text import normalise


class Utterance(NamedTuple):
    """Speech at 16 kHz, float32 [samples], what it says, and who or where it is from."""

    name: str
    audio: NDArray[np.float32]
    text: str
    voice: str


def read(path: Path) -> NDArray[np.float32]:
    """Return a mono file's samples at 16 kHz."""
    audio, rate = soundfile.read(path, dtype="float32")
    speech: NDArray[np.float32] = soxr.resample(audio, rate, RATE) if rate != RATE else audio
    return speech


def stations(manifest: Path, names: Iterable[str]) -> Iterator[Utterance]:
    """Yield every recording of these radio stations."""
    for row in read_rows(manifest, "station", "text", "audio"):
        if row["station"] in names:
            path = manifest.parent / row["audio"]
            yield Utterance(path.stem, read(path), normalise(row["text"]), row["station"])


def voices(manifest: Path) -> Iterator[Utterance]:
    """Yield what `make_test_set` wrote."""
    for row in read_rows(manifest, "audio", "text", "voice"):
        path = manifest.parent / row["audio"]
        yield Utterance(path.stem, read(path), row["text"], row["voice"])


def by_telephone(utterances: Iterable[Utterance]) -> Iterator[Utterance]:
    """Yield the utterances as a telephone line would bring them."""
    for utterance in utterances:
        yield utterance._replace(audio=telephone(torch.from_numpy(utterance.audio)[None])[0].numpy())


def write(utterances: Iterable[Utterance], folder: Path) -> float:
    """Write WAV files and their manifest; return their length in minutes."""
    folder.mkdir(parents=True, exist_ok=True)
    seconds = 0.0
    with (folder / "manifest.jsonl").open("w", encoding="utf-8") as manifest:
        for name, audio, text, voice in utterances:
            # a telephone's coding may go a little above full scale: such a file is made quieter, not clipped
            speech = audio / max(1.0, float(np.abs(audio).max()))
            soundfile.write(folder / f"{name}.wav", speech, RATE, subtype="PCM_16")
            row = {"audio": f"{name}.wav", "text": text, "voice": voice, "duration_s": round(len(audio) / RATE, 2)}
            manifest.write(json.dumps(row, ensure_ascii=False) + "\n")
            seconds += len(audio) / RATE
    return seconds / 60


def main() -> None:
    """Write the sets."""
    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument("--stations", type=Path, required=True, help="manifest.jsonl of air_hindi")
    parser.add_argument("--voices", type=Path, required=True, help="manifest.jsonl that make_test_set wrote")
    parser.add_argument("--output", type=Path, required=True)
    arguments = parser.parse_args()
    require(arguments.stations, arguments.voices)
    split = Split.load()
    names = split.test_stations
    sets = {
        "development": stations(arguments.stations, [split.development_station]),
        "stations": stations(arguments.stations, names),
        "stations-telephone": by_telephone(stations(arguments.stations, names)),
        "voices-telephone": by_telephone(voices(arguments.voices)),
    }
    for name, utterances in sets.items():
        print(f"{name}: {write(utterances, arguments.output / name):.1f} minutes", flush=True)


if __name__ == "__main__":
    run("held_out_sets", main)
