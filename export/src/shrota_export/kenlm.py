"""KenLM's files: what kind one is, whether it is whole, and its words.

ARPA is text, described at https://cmusphinx.github.io/wiki/arpaformat/; the binary is what ``build_binary`` writes,
``lm/binary_format.hh`` and ``lm/vocab.cc`` of https://github.com/kpu/kenlm.
"""

import mmap
import re
import struct
from collections.abc import Iterator, Mapping
from pathlib import Path

from shrota_export.errors import LanguageModelError

GZIP = b"\x1f\x8b"
BINARY = b"mmap lm http://kheafield.com/code format version 5\n\0"
BINARY_START = b"mmap lm http://kheafield.com/code"
PARAMETERS = struct.Struct("<B3xfi?3xIQ")
"""order, probing multiplier, type of model, whether the words are in the file, version, number of words"""
PARAMETERS_OFFSET = 88
UNKNOWN = b"<unk>\0"
MARKS = frozenset({"<s>", "</s>", "<unk>", "<UNK>"})
LONGEST_HEAD = 65_536
"""Bytes in which an ARPA file must have begun."""
WORD = re.compile(rb"[^ \t\r\n]+")


def is_gzipped(path: Path) -> bool:
    """Whether a file is compressed by gzip."""
    with path.open("rb") as file:
        return file.read(len(GZIP)) == GZIP


def is_binary(path: Path) -> bool:
    """Whether a file is a binary of KenLM's, whatever its version."""
    with path.open("rb") as file:
        return file.read(len(BINARY_START)) == BINARY_START


def binary_words(path: Path, name: str, listed: Path | None = None) -> list[str]:
    """The words of a binary; those of a list, where the binary does not hold them (``build_binary -v``).

    Raises:
        LanguageModelError: It is of another version, incomplete, or has no words; there is a list and no need for it,
            or it cannot be read. ``name`` is what the user calls the binary.
    """
    again = "build it again with KenLM's build_binary"
    with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content:
        if content[: len(BINARY)] != BINARY or len(content) < PARAMETERS_OFFSET + PARAMETERS.size:
            raise LanguageModelError(name, f"it is a KenLM binary of another version, or incomplete: {again}")
        order, _, _, has_words, _, count = PARAMETERS.unpack_from(content, PARAMETERS_OFFSET)
        _check_order(order, name)
        if not has_words:
            if listed is None:
                raise LanguageModelError(
                    name,
                    "the binary does not hold its words: give a list of them, such as the lexicon that belongs to it, "
                    f"with --words FILE, or {again}, without -v",
                )
            return listed_words(listed)
        check_needless(listed, name)
        start = content.rfind(UNKNOWN)
        words = content[start:].split(b"\0") if start >= 0 else [b""]
    # KenLM adds <unk> where the ARPA file has none, and does not count it; behind the last word there is a NUL
    if words.pop() != b"" or len(words) - count not in {0, 1}:
        raise LanguageModelError(name, f"it is cut short: it should have {count} words: copy or {again}")
    return [word for word in (_decoded(each, name) for each in words) if word not in MARKS]


def check_needless(listed: Path | None, name: str) -> None:
    """Refuses a list of words for a model that holds them.

    Raises:
        LanguageModelError: There is one.
    """
    if listed is not None:
        raise LanguageModelError(name, "it holds its own words: leave out --words")


def listed_words(path: Path) -> list[str]:
    """The first word of each line, once each: a plain list, or a lexicon of words and their letters.

    Raises:
        LanguageModelError: The file cannot be read, or has no words.
    """
    name = str(path)
    try:
        lines = path.read_bytes().splitlines()
    except OSError as error:
        raise LanguageModelError(name, f"it cannot be read ({error.strerror}): check the path") from None
    words = dict.fromkeys(_decoded(fields[0], name) for line in lines if (fields := line.split()))
    if not words:
        raise LanguageModelError(name, "it has no words: write one on each line")
    return [word for word in words if word not in MARKS]


def spell_anew(source: Path, target: Path, spelling: Mapping[str, str]) -> None:
    """Writes an ARPA file whose words are spelled otherwise where ``spelling`` says so."""
    spelled = {old.encode("utf-8"): new.encode("utf-8") for old, new in spelling.items()}
    with source.open("rb") as lines, target.open("wb") as written:
        for line in lines:
            number, tab, rest = line.partition(b"\t")
            written.write(number + tab + WORD.sub(lambda found: spelled.get(found[0], found[0]), rest))


def arpa_words(path: Path, name: str) -> list[str]:
    """The words of an ARPA file.

    Raises:
        LanguageModelError: It is no ARPA file, or not a whole one. ``name`` is what the user calls it.
    """
    counts = _arpa_counts(path, name)
    with path.open("rb") as file:
        file.seek(max(0, path.stat().st_size - 1024))
        if b"\\end\\" not in file.read():
            raise LanguageModelError(name, r"it is cut short: there is no \end\ at its end: copy it again")
    words = [_decoded(word, name) for word in _unigrams(path)]
    if len(words) != counts.get(1):
        raise LanguageModelError(name, f"it has {len(words)} words, but says {counts.get(1)}: copy or build it again")
    _check_order(max(counts), name)
    return [word for word in words if word not in MARKS]


def _arpa_counts(path: Path, name: str) -> dict[int, int]:
    """How many n-grams of each order the file says that it has."""
    with path.open("rb") as file:
        head = file.read(LONGEST_HEAD)
    _, begun, rest = head.partition(b"\\data\\")
    counts = {}
    for line in rest.partition(b"\\1-grams:")[0].splitlines():
        order, equals, count = line.strip().removeprefix(b"ngram ").partition(b"=")
        if equals and order.strip().isdigit() and count.strip().isdigit():
            counts[int(order)] = int(count)
    if not begun or not counts:
        raise LanguageModelError(name, "it is no KenLM model: give an ARPA file, gzipped or not, or a KenLM binary")
    return counts


def _unigrams(path: Path) -> Iterator[bytes]:
    within = False
    with path.open("rb") as lines:
        for line in lines:
            if line.startswith(b"\\"):
                if within:
                    return
                within = line.strip() == b"\\1-grams:"
            elif within and len(fields := line.split()) > 1:
                yield fields[1]


def _decoded(word: bytes, name: str) -> str:
    try:
        return word.decode("utf-8")
    except UnicodeDecodeError:
        raise LanguageModelError(name, f"its word {word!r} is not UTF-8: convert the text and build it again") from None


def _check_order(order: int, name: str) -> None:
    if order < 2:  # noqa: PLR2004 - pairs
        raise LanguageModelError(
            name, "it has single words only, which KenLM does not load: build one of pairs or more"
        )
