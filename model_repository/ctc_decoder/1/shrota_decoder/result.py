"""What a decoder gives for one utterance, and its JSON."""

import json
from dataclasses import dataclass

TIME_DIGITS = 3
CONFIDENCE_DIGITS = 4


@dataclass(frozen=True)
class Word:
    """A word, its times in seconds from the start of the audio, its confidence in [0, 1]."""

    word: str
    start: float
    end: float
    confidence: float


@dataclass(frozen=True)
class Result:
    """One utterance: confidence in [0, 1], seconds of audio, words in order."""

    confidence: float
    duration: float
    words: tuple[Word, ...]

    @property
    def text(self) -> str:
        """The words, one space between them."""
        return " ".join(word.word for word in self.words)

    def to_json(self) -> str:
        """The tensor RESULT: text, confidence, duration (s), words and alternatives; Unicode as it is."""
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
                for word in self.words
            ],
            "alternatives": [],
        }
        return json.dumps(content, ensure_ascii=False)
