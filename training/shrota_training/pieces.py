"""Cut recordings of people between words, so that training rows can join their words in new orders.

There are few such recordings, and a model soon knows their sentences by heart. A checkpoint that reads a recording
without an error also says when each word is spoken, by the frames of its best path: the cut goes halfway between the
last letter of a word and the first of the next (the quietest place there was tried: it is often inside a consonant).
Recordings that it does not read without an error are not cut.
"""

import argparse
import json
import random
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from transformers import Wav2Vec2ForCTC

from shrota_training.command import require, run
from shrota_training.model import load_vocab
from shrota_training.rows import read_rows
from shrota_training.split import Split

STRIDE = 320  # samples from one frame of the model to the next
CENTRE = 200  # of a frame's receptive field, in samples
WORDS = (2, 7)
SEED = 3
Speech = NDArray[np.int16]


class Piece(NamedTuple):
    """Some words in a row, from one sample to another."""

    text: str
    start: int
    end: int


def spoken(path: Sequence[int], letters: dict[int, str]) -> list[tuple[str, int]]:
    """Return the letters of a best path, each with its first frame; what is no letter (the blank) is left out."""
    found, previous = [], -1
    for frame, token in enumerate(path):
        if token != previous and token in letters:
            found.append((letters[token], frame))
        previous = token
    return found


def cuts(timed: Sequence[tuple[str, int]]) -> list[int]:
    """Return the samples at which words part, one for each space in the timed letters."""
    found = []
    for number, (letter, _) in enumerate(timed):
        if letter == " " and 0 < number < len(timed) - 1:
            found.append((timed[number - 1][1] + timed[number + 1][1]) * STRIDE // 2 + CENTRE)
    return found


def pieces(text: str, borders: Sequence[int], samples: int, rng: random.Random) -> Iterator[Piece]:
    """Part a recording into pieces of two to eight words, at random."""
    words = text.split()
    edges = [0, *borders, samples]
    first = 0
    while first < len(words):
        last = min(len(words), first + rng.randint(*WORDS))
        last = len(words) if len(words) - last < WORDS[0] else last  # no word is left alone
        yield Piece(" ".join(words[first:last]), edges[first], edges[last])
        first = last


def best_path(model: Wav2Vec2ForCTC, speech: Speech) -> list[int]:
    """Return the most likely token of each frame."""
    audio = torch.from_numpy(speech.astype(np.float32)).to(model.device)
    audio = (audio - audio.mean()) / torch.sqrt(audio.var(unbiased=False) + 1e-7)
    with torch.inference_mode():
        logits = model(audio[None], attention_mask=torch.ones_like(audio, dtype=torch.long)[None]).logits
    path: list[int] = logits[0].argmax(-1).tolist()
    return path


def training_recordings(index: Path) -> Iterator[tuple[str, str, Speech]]:
    """Yield text, station and speech of the recordings in a folder of `real_speech` that are for training."""
    raw = np.fromfile(index.with_suffix(".raw"), dtype=np.int16)
    offset = 0
    for row in read_rows(index, "text", "samples", "development", "voice"):
        if not row["development"]:
            yield row["text"], row["voice"], raw[offset : offset + row["samples"]]
        offset += row["samples"]


def main() -> None:
    """Cut the training recordings in a folder of `real_speech`, several times; write pieces and their index."""
    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument("--speech", type=Path, required=True, help="folder that real_speech wrote")
    parser.add_argument("--checkpoint", type=Path, required=True, help="one that has been trained on this speech")
    parser.add_argument("--output", type=Path, required=True)
    parser.add_argument("--times", type=int, default=3, help="each recording is cut so often, in other places")
    arguments = parser.parse_args()
    source = arguments.speech / "speech-air_hindi.jsonl"
    require(source, arguments.checkpoint / "config.json")
    model = Wav2Vec2ForCTC.from_pretrained(arguments.checkpoint, dtype=torch.float32).eval()
    model = model.to("cuda" if torch.cuda.is_available() else "cpu")
    ids = load_vocab(arguments.checkpoint / "vocab.json")
    letters = {number: token.replace("|", " ") for token, number in ids.items() if len(token) == 1}
    held = Split.load().held_out()
    rng = random.Random(SEED)
    arguments.output.mkdir(parents=True, exist_ok=True)
    counts: Counter[str] = Counter()
    made, index = arguments.output / "speech-pieces.raw", arguments.output / "speech-pieces.jsonl"
    with made.open("wb") as audio, index.open("w", encoding="utf-8") as rows:
        for text, station, speech in training_recordings(source):
            timed = spoken(best_path(model, speech), letters)
            borders = cuts(timed)
            known = "".join(letter for letter, _ in timed).strip() == text and len(borders) == text.count(" ")
            counts["cut" if known else "whole"] += 1
            for _ in range(arguments.times if known else 0):
                for piece in pieces(text, borders, len(speech), rng):
                    if held.leaks(piece.text):
                        counts["leaks"] += 1
                        continue
                    audio.write(speech[piece.start : piece.end].tobytes())
                    entry = {"text": piece.text, "samples": piece.end - piece.start, "development": False}
                    rows.write(json.dumps({**entry, "voice": station}, ensure_ascii=False) + "\n")
    print(
        f"{counts['cut']} recordings cut {arguments.times} times; {counts['whole']} not read without an error, left out"
    )
    print(f"{counts['leaks']} pieces left out that are close to a held-out phrase")
    if not counts["cut"]:
        raise SystemExit(f"pieces: {arguments.checkpoint} reads none of the recordings: name one that has heard them")


if __name__ == "__main__":
    run("pieces", main)
