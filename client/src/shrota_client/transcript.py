"""What the server answers: the text, its words with their times, and the alternatives."""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, Self

from shrota_client.answer import MALFORMED
from shrota_client.errors import ServerError


@dataclass(frozen=True)
class Word:
    """One word; ``start`` and ``end`` are seconds from the beginning of the audio, ``confidence`` is in [0, 1]."""

    word: str
    start: float
    end: float
    confidence: float


@dataclass(frozen=True)
class Alternative:
    """A reading of the audio, where ``n_best`` asked for some.

    Attributes:
        text: what may have been said.
        score: the decoder's own, higher is better; None where it gives none.
        details: all that the decoder says of it.
    """

    text: str
    score: float | None
    details: Mapping[str, Any] = field(default_factory=dict, repr=False)


@dataclass(frozen=True)
class Transcript:
    """The answer to one utterance.

    Attributes:
        text: what was said.
        confidence: of the whole, in [0, 1].
        duration: seconds of audio.
        words: the words of ``text`` in order, with their times; none where they were not asked for.
        alternatives: the best readings, best first; none where they were not asked for.
        elapsed_s: seconds from sending the request to its answer, waits for a full queue included, reading and
            resampling the file not.
    """

    text: str
    confidence: float
    duration: float
    words: tuple[Word, ...] = ()
    alternatives: tuple[Alternative, ...] = ()
    elapsed_s: float = 0.0

    @property
    def real_time_factor(self) -> float | None:
        """Seconds of waiting for each second of audio; None where there is no audio."""
        return self.elapsed_s / self.duration if self.duration > 0 else None

    @classmethod
    def from_result(cls, result: bytes, elapsed_s: float = 0.0) -> Self:
        """Reads the ``RESULT`` tensor: JSON in UTF-8.

        Raises:
            ServerError: it is not what the contract says.
        """
        try:
            fields = json.loads(result)
            return cls(
                text=str(fields["text"]),
                confidence=float(fields["confidence"]),
                duration=float(fields["duration"]),
                words=tuple(
                    Word(str(word["word"]), float(word["start"]), float(word["end"]), float(word["confidence"]))
                    for word in fields.get("words") or ()
                ),
                alternatives=tuple(_alternative(each) for each in fields.get("alternatives") or ()),
                elapsed_s=elapsed_s,
            )
        except MALFORMED as error:
            detail = f"{type(error).__name__}: {error}"
            raise ServerError(
                f"the server's RESULT is not what this client reads ({detail}): use the same version of both"
            ) from error

    def as_dict(self) -> dict[str, Any]:
        """The transcript in plain types, as JSON carries it."""
        fields = asdict(self)
        fields["words"] = [asdict(word) for word in self.words]
        fields["alternatives"] = [dict(each.details) or {"text": each.text} for each in self.alternatives]
        fields["elapsed_s"] = round(self.elapsed_s, 4)
        factor = self.real_time_factor
        fields["real_time_factor"] = None if factor is None else round(factor, 4)
        return fields


def _alternative(value: object) -> Alternative:
    """An alternative is an object with a ``text``, or the bare text."""
    if isinstance(value, str):
        return Alternative(value, None, {"text": value})
    if not isinstance(value, Mapping):
        raise TypeError(f"an alternative is a {type(value).__name__}")
    score = value.get("score")
    return Alternative(str(value["text"]), None if score is None else float(score), dict(value))
