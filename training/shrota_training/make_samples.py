"""Speak the texts of `samples/` with Kokoro's Hindi voices; write the WAV files and their manifest."""

import argparse
import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import soundfile
from numpy.typing import NDArray

from shrota_training.kokoro import (
    KOKORO_RATE,
    SPEECH_RATE,
    Kokoro,
    PhonemeTable,
    load_voice,
    phonemes,
    to_speech_rate,
)
from shrota_training.split import Split

PASSAGE_S = 120.0
PAUSE_S = 0.3
SENTENCES_PER_BREATH = 2  # Kokoro speaks short texts best, and pauses well between two sentences


class Speaker:
    """One voice, ready to speak."""

    def __init__(self, kokoro: Kokoro, table: PhonemeTable, styles: NDArray[np.float32]) -> None:
        self.kokoro = kokoro
        self.table = table
        self.styles = styles

    def read(self, sentences: Sequence[str]) -> NDArray[np.float32]:
        """Return 24 kHz speech of some sentences, spoken in one breath."""
        tokens = self.table.tokens(". ".join(phonemes(sentences)) + ".")
        return self.kokoro.speak(tokens, self.styles[len(tokens)])


def read_aloud(speaker: Speaker, sentences: Sequence[str], limit_s: float) -> tuple[NDArray[np.float32], list[str]]:
    """Read sentences with pauses until the limit is reached; return 24 kHz speech and the sentences that were read."""
    pause = np.zeros(int(PAUSE_S * KOKORO_RATE), np.float32)
    pieces: list[NDArray[np.float32]] = []
    read: list[str] = []
    for start in range(0, len(sentences), SENTENCES_PER_BREATH):
        breath = list(sentences[start : start + SENTENCES_PER_BREATH])
        pieces += [pause] if pieces else []
        pieces.append(speaker.read(breath))
        read += breath
        if sum(map(len, pieces)) >= limit_s * KOKORO_RATE:
            break
    speech: NDArray[np.float32] = np.concatenate(pieces)
    return speech, read


def main() -> None:
    """Make the samples."""
    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument("--voices", type=Path, required=True, help="folder of Kokoro's *.bin voices")
    parser.add_argument("--model", type=Path, required=True, help="Kokoro's ONNX file")
    parser.add_argument("--phonemes", type=Path, required=True, help="Kokoro's vocab.json")
    parser.add_argument("--output", type=Path, required=True)
    parser.add_argument("--limit-s", type=float, default=PASSAGE_S, help="stop the long sample after this (seconds)")
    arguments = parser.parse_args()
    kokoro, table = Kokoro(arguments.model), PhonemeTable(arguments.phonemes)
    arguments.output.mkdir(parents=True, exist_ok=True)
    rows = []
    for name, sample in Split.load().samples.items():
        speaker = Speaker(kokoro, table, load_voice(arguments.voices, sample["voice"]))
        audio, read = read_aloud(speaker, sample["phrases"], arguments.limit_s)
        speech = to_speech_rate(audio)
        soundfile.write(arguments.output / f"{name}.wav", speech, SPEECH_RATE, subtype="PCM_16")
        row = {"audio": f"{name}.wav", "text": " ".join(read), "duration_s": round(len(speech) / SPEECH_RATE, 2)}
        rows.append(json.dumps({**row, "voice": sample["voice"]}, ensure_ascii=False))
        print(rows[-1])
    (arguments.output / "manifest.jsonl").write_text("\n".join(rows) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
