"""An n-gram language model in Python: what ``kenlm`` gives pyctcdecode, read from an ARPA file, without its C++."""

import gzip
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

UNKNOWN = "<unk>"


@dataclass
class State:
    """The words that the next one is judged by; written into, as KenLM does."""

    words: tuple[str, ...] = ()


class NGramModel:
    """Probabilities with back-off, as the ARPA format defines them; has the names of ``kenlm.Model``."""

    def __init__(self, path: Path) -> None:
        self._grams = {words: (log10_prob, backoff) for words, log10_prob, backoff in read_grams(path)}
        self.order = max(map(len, self._grams))

    @property
    def words(self) -> list[str]:
        """The words that it knows, its marks among them."""
        return [words[0] for words in self._grams if len(words) == 1]

    def __contains__(self, word: str) -> bool:
        return (word,) in self._grams

    def BeginSentenceWrite(self, state: State) -> None:  # noqa: N802 - kenlm's name
        """Makes the state that of a sentence that begins."""
        state.words = ("<s>",)

    def BaseScore(self, before: State, word: str, after: State) -> float:  # noqa: N802 - kenlm's name
        """The log10-probability of a word; writes the state behind it."""
        words = (*before.words, word if word in self else UNKNOWN)
        after.words = words[1 - self.order :]
        backoff = 0.0
        for start in range(len(words)):
            if words[start:] in self._grams:
                return backoff + self._grams[words[start:]][0]
            backoff += self._grams.get(words[start:-1], (0.0, 0.0))[1]
        raise ValueError(f"the model has no {UNKNOWN}")


def read_grams(path: Path) -> Iterator[tuple[tuple[str, ...], float, float]]:
    """N-grams of a gzipped ARPA file, their log10-probabilities and back-off weights."""
    length = 0
    with gzip.open(path, "rt", encoding="utf-8") as lines:
        for line in lines:
            if line.startswith("\\"):
                length = int(line[1]) if line.endswith("-grams:\n") else 0
            elif length and (fields := line.split()):
                words = tuple(fields[1 : 1 + length])
                yield words, float(fields[0]), float(fields[1 + length]) if len(fields) > 1 + length else 0.0
