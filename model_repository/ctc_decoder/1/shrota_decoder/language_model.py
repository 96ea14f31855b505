"""The language model beside ``model.py``: ``lm.arpa`` or ``lm.binary``, and ``lm.words`` with its words.

``shrota export lm FILE`` writes them. KenLM's binary does not give its words away, and the search needs them: letters
that begin no known word are a dead end.
"""

import gzip
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from shrota_decoder.errors import SettingsError

KINDS = ("lm.arpa", "lm.binary", "lm.arpa.gz", "lm.bin", "lm.klm")
WORDS = "lm.words"
MARKS = frozenset({"<s>", "</s>", "<unk>", "<UNK>"})


@dataclass(frozen=True)
class LanguageModel:
    """A KenLM file and its words."""

    path: Path
    words: tuple[str, ...]
    stamp: tuple[int, int, int] | None = field(default=None, compare=False)
    """Which file that was; a file that took its place has other words."""

    def was_replaced(self) -> bool:
        """Whether the file is not the one that was found."""
        try:
            return self.stamp is not None and stamp_of(self.path) != self.stamp
        except OSError:
            return True


def stamp_of(path: Path) -> tuple[int, int, int]:
    """Node, size and time of change of a file."""
    status = path.stat()
    return status.st_ino, status.st_size, status.st_mtime_ns


def find_language_model(folder: Path) -> LanguageModel | None:
    """The language model in a folder, None if there is none.

    Raises:
        SettingsError: There are several, or its words are missing.
    """
    found = [folder / kind for kind in KINDS if (folder / kind).is_file()]
    if not found:
        return None
    if len(found) > 1:
        names = ", ".join(path.name for path in found)
        raise SettingsError(f"{folder} holds several language models ({names}): remove all but one")
    path, listed = found[0], folder / WORDS
    try:
        stamp = stamp_of(path)
        if listed.is_file():
            words = tuple(word for word in listed.read_text(encoding="utf-8").split("\n") if word)
        elif ".arpa" in path.name:
            words = tuple(word for word in arpa_words(path) if word not in MARKS)
        else:
            raise SettingsError(f"{listed} is missing: install the model with `shrota export lm {path.name}`")
    except (OSError, UnicodeDecodeError) as error:
        raise SettingsError(f"{path} cannot be read ({error}): install it again with `shrota export lm FILE`") from None
    if not words:
        raise SettingsError(f"{path} has no words: install a KenLM model with `shrota export lm FILE`")
    return LanguageModel(path, words, stamp)


def arpa_words(path: Path) -> Iterator[str]:
    """The words of an ARPA file, gzipped or not, in its order."""
    with gzip.open(path, "rt", encoding="utf-8") if path.suffix == ".gz" else path.open(encoding="utf-8") as lines:
        within = False
        for line in lines:
            if line.startswith("\\"):
                if within:
                    return
                within = line.strip() == "\\1-grams:"
            elif within and len(fields := line.split()) > 1:
                yield fields[1]
