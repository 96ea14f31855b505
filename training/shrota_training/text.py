"""Hindi text for training: what is kept of a line, and which lines are too close to a held-out phrase.

Only characters of IndicWav2Vec-Hindi's vocabulary survive, so that every reference can be spelled by the model.
"""

import json
import re
import unicodedata
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from pathlib import Path

INVISIBLE = dict.fromkeys(map(ord, "\u200b\u200c\u200d\ufeff"))
# Signs that need a letter before them; a word that starts with one was torn from its line.
DEPENDENT_SIGNS = frozenset("ँंः़ािीुूृॅेैॉोौ्")
# One-letter words that are Hindi; other lone letters are remains of broken words (the corpus was extracted from PDF).
ONE_LETTER_WORDS = frozenset({"न", "व", "आ", "ओ", "ए", "ऐ", "औ"})
# The spellings between which Hindi writers choose freely: they do not make another phrase.
SAME_SPELLING = str.maketrans({"़": "", "ँ": "ं", "ः": ""})  # noqa: RUF001 - the visarga
TRIGRAM_SIMILARITY = 0.6


def vocabulary_letters(vocab_path: Path) -> frozenset[str]:
    """Return the characters that a checkpoint's vocab.json can spell, apart from special tokens and the delimiter."""
    vocab: dict[str, int] = json.loads(vocab_path.read_text(encoding="utf-8"))
    return frozenset(letter for letter in vocab if len(letter) == 1 and letter != "|")


def normalise(line: str) -> str:
    """NFC (which keeps the nukta a sign of its own), no zero-width characters, single spaces."""
    return " ".join(unicodedata.normalize("NFC", line).translate(INVISIBLE).split())


def is_clean(line: str, letters: frozenset[str]) -> bool:
    """Tell whether every word of a normalised line is whole and can be spelled."""
    words = line.split()
    return bool(words) and all(
        set(word) <= letters and word[0] not in DEPENDENT_SIGNS and (len(word) > 1 or word in ONE_LETTER_WORDS)
        for word in words
    )


def read_phrases(path: Path, letters: frozenset[str]) -> list[tuple[str, str]]:
    """Read `source<TAB>phrase` lines in order; return the clean ones as (source, normalised phrase)."""
    rows = (line.split("\t", 1) for line in path.read_text(encoding="utf-8").splitlines())
    pairs = ((source, normalise(phrase)) for source, phrase in rows)
    return [(source, phrase) for source, phrase in pairs if is_clean(phrase, letters)]


def comparison_key(phrase: str) -> str:
    """Return a phrase without the spellings that make no difference, padded with spaces so that words compare whole."""
    return f" {normalise(phrase).translate(SAME_SPELLING)} "


def _trigrams(key: str) -> frozenset[str]:
    letters = re.sub(r"\s+", " ", key)
    return frozenset(letters[i : i + 3] for i in range(len(letters) - 2))


class HeldOut:
    """The phrases that must not be trained on, and the test whether a line comes too close to one of them."""

    def __init__(self, phrases: Sequence[str]) -> None:
        self.keys = [comparison_key(phrase) for phrase in phrases]
        self._sizes: list[int] = []
        self._index: dict[str, list[int]] = defaultdict(list)
        for number, key in enumerate(self.keys):
            grams = _trigrams(key)
            self._sizes.append(len(grams))
            for gram in grams:
                self._index[gram].append(number)

    def leaks(self, line: str) -> bool:
        """Tell whether a line equals, contains, is a part of three or more words of, or nearly equals a phrase."""
        key = comparison_key(line)
        if any(held in key for held in self.keys):
            return True
        if len(key.split()) >= 3 and any(key in held for held in self.keys):
            return True
        grams = _trigrams(key)
        shared = Counter(number for gram in grams for number in self._index.get(gram, ()))
        return any(
            count / (len(grams) + self._sizes[number] - count) >= TRIGRAM_SIMILARITY for number, count in shared.items()
        )

    def training_lines(self, lines: Iterable[str]) -> list[str]:
        """Return the distinct lines that may be trained on, in order. Every text for training goes through here."""
        kept: dict[str, None] = {}
        for line in lines:
            if line not in kept and not self.leaks(line):
                kept[line] = None
        return list(kept)
