"""Fix what is held out, once: `python -m shrota_training.split` writes split.json, which every other script obeys.

Kept apart are two Kokoro voices, 300 phrases, and three radio stations of the real recordings. Among the phrases are
the texts of `samples/`: four sentences, and a passage of consecutive lines of a novel for the long one.
"""

import argparse
import json
import random
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from shrota_training.command import run
from shrota_training.kokoro import HINDI_VOICES
from shrota_training.rows import read_rows
from shrota_training.text import HeldOut, normalise, read_phrases, vocabulary_letters

SPLIT_PATH = Path(__file__).parents[1] / "split.json"
HELD_OUT_PHRASES = 300
SEED = 20261122
# Chosen by reading, before any model was trained: whole sentences of news and ordinary prose.
SHORT_SAMPLES = {
    "sentence-1": ("hf_alpha", "स्मार्टफोन मॉडल का उत्पादन पूरी तरह रोक दिया गया था"),
    "sentence-2": ("hf_beta", "यह बच्चों में पाया जाने वाला सबसे आम ट्यूमर है"),
    "sentence-3": ("hm_omega", "गांधीजी जानते थे कि बा को क्रोध आ रहा है"),
    "sentence-4": ("hm_psi", "इन सभी का गृहयुद्ध की संभावना कम करने पर महत्वपूर्ण प्रभाव पड़ा"),
}
PASSAGE_VOICE = "hf_alpha"
PASSAGE_FIRST_LINE = "पर भविष्य के लिए चेतावनी दे दूँ"
PASSAGE_PHRASES = 56


@dataclass(frozen=True)
class Split:
    """What split.json says."""

    test_stations: tuple[str, ...]
    development_station: str
    voices: tuple[str, ...]
    phrases: tuple[str, ...]
    samples: dict[str, dict[str, Any]]

    @classmethod
    def load(cls, path: Path = SPLIT_PATH) -> "Split":
        """Read split.json."""
        raw = json.loads(path.read_text(encoding="utf-8"))
        stations = raw["stations"]
        return cls(
            test_stations=tuple(stations["test"]),
            development_station=stations["development"],
            voices=tuple(raw["kokoro_voices"]),
            phrases=tuple(raw["phrases"]),
            samples=raw["samples"],
        )

    def held_out(self, stations: Path | None = None) -> HeldOut:
        """Return the guard that keeps the phrases, and all that is close to them, out of training.

        Args:
            stations: the manifest of the recordings; with it also what the held-out stations say.
        """
        texts: list[str] = []
        if stations is not None:
            rows = read_rows(stations, "station", "text")
            texts = [normalise(row["text"]) for row in rows if not self.is_training_station(row["station"])]
        return HeldOut([*self.phrases, *texts])

    def training_voices(self, voices: list[str]) -> list[str]:
        """Return the voices that may speak training text."""
        return [voice for voice in voices if voice not in self.voices]

    def is_training_station(self, station: str) -> bool:
        """Tell whether a radio station's recordings and transcripts may be trained on."""
        return station != self.development_station and station not in self.test_stations


def choose(pairs: list[tuple[str, str]]) -> dict[str, Any]:
    """Choose the held-out phrases of a text corpus given as clean (source, phrase) pairs, and the samples' texts."""
    phrases = [phrase for _, phrase in pairs]
    first = phrases.index(PASSAGE_FIRST_LINE)
    passage = [phrase for phrase in phrases[first:] if len(phrase.split()) >= 4][:PASSAGE_PHRASES]
    chosen = list(dict.fromkeys([*(normalise(text) for _, text in SHORT_SAMPLES.values()), *passage]))
    missing = [text for text in chosen if text not in phrases]
    if missing:
        message = f"not in the corpus: {missing}"
        raise ValueError(message)
    candidates = sorted({phrase for phrase in phrases if 4 <= len(phrase.split()) <= 16} - set(chosen))
    random.Random(SEED).shuffle(candidates)
    chosen += candidates[: HELD_OUT_PHRASES - len(chosen)]
    samples: dict[str, dict[str, Any]] = {
        name: {"voice": voice, "phrases": [normalise(text)]} for name, (voice, text) in SHORT_SAMPLES.items()
    }
    samples["passage"] = {"voice": PASSAGE_VOICE, "phrases": passage}
    return {
        "stations": {"test": ["Ranchi", "Itanagar"], "development": "Dehradun"},
        "kokoro_voices": [HINDI_VOICES[1], "am_michael"],
        "phrases": chosen,
        "samples": samples,
    }


def main() -> None:
    """Write split.json from a text corpus."""
    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument("--text", type=Path, required=True, help="hindi_text.tsv")
    parser.add_argument("--vocab", type=Path, required=True, help="vocab.json of IndicWav2Vec-Hindi")
    parser.add_argument("--output", type=Path, default=SPLIT_PATH)
    arguments = parser.parse_args()
    split = choose(read_phrases(arguments.text, vocabulary_letters(arguments.vocab)))
    arguments.output.write_text(json.dumps(split, ensure_ascii=False, indent=1) + "\n", encoding="utf-8")
    guard = HeldOut(split["phrases"])
    pairs = read_phrases(arguments.text, vocabulary_letters(arguments.vocab))
    print(
        f"{len(split['phrases'])} phrases held out; {len(guard.training_lines(p for _, p in pairs))} left for training"
    )


if __name__ == "__main__":
    run("split", main)
