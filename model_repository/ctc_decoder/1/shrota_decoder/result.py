"""What a decoder gives for one utterance, and its JSON."""

import json
from dataclasses import dataclass

TIME_DIGITS = 3
CONFIDENCE_DIGITS = 4
SCORE_DIGITS = 3


@dataclass(frozen=True)
class Word:
    """A word, its times in seconds from the start of the audio, its confidence in [0, 1]."""

    word: str
    start: float
    end: float
    confidence: float


@dataclass(frozen=True)
class Alternative:
    """One of the best readings, and the natural log of its weight in the search: higher is better."""

    text: str
    score: float


@dataclass(frozen=True)
class Result:
    """One utterance: confidence in [0, 1], seconds of audio, words in order, and readings from the best on."""

    confidence: float
    duration: float
    words: tuple[Word, ...]
    alternatives: tuple[Alternative, ...] = ()

    @property
    def text(self) -> str:
        """The words, one space between them."""
        return " ".join(word.word for word in self.words)

    def to_json(self, *, words: bool = True) -> str:
        """The tensor RESULT: text, confidence, duration (s), words and alternatives; Unicode as it is.

        Args:
            words: Whether to list the words with their times; without it the list is empty.
        """
        content = {
            "text": self.text,
            "confidence": round(self.confidence, CONFIDENCE_DIGITS),
            "duration": round(self.duration, TIME_DIGITS),
            "words": [
                {
                    "word": word.word,
                    "start": round(word.start, TIME_DIGITS),
                    "end": round(word.end, TIME_DIGITS),
                    "confidence": round(word.confidence, CONFIDENCE_DIGITS),
                }
                for word in (self.words if words else ())
            ],
            "alternatives": [
                {"text": each.text, "score": round(each.score, SCORE_DIGITS)} for each in self.alternatives
            ],
        }
        return json.dumps(content, ensure_ascii=False)
