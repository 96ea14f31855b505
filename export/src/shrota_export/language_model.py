"""Puts a language model beside the decoder: checked against its tokens, unpacked, with the list of its words."""

import gzip
import json
import shutil
import unicodedata
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from shrota_export.errors import LanguageModelError, RepositoryError
from shrota_export.kenlm import arpa_words, binary_words, check_needless, is_binary, is_gzipped, spell_anew
from shrota_export.paths import LANGUAGE_MODELS, LM_ARPA, LM_BINARY, LM_WORDS, MANIFEST, VOCABULARY
from shrota_export.repository import Publication, publication

LEAST_SPELLED = 0.5
"""Of the words; a model of which less can be heard is one of another language or script."""
EXAMPLES = 3
FORMS: tuple[Literal["NFD", "NFC"], ...] = ("NFD", "NFC")
"""Unicode has a letter with a nukta as one character and as two; tokens are one or the other."""


@dataclass(frozen=True)
class StagedModel:
    """A language model that is ready to be published."""

    paths: tuple[Path, ...]
    """its files, from the repository's folder on"""
    words: int
    """that can be heard"""
    left_out: tuple[str, ...]
    """words that cannot be spelled with the tokens"""
    respelled: int = 0
    """words of an ARPA file that were written in the tokens' form of Unicode"""
    lost: int = 0
    """words left out that another form could spell, but that stand fixed in a binary"""

    @property
    def stale(self) -> list[Path]:
        """What may be there of an earlier one."""
        return [path for path in LANGUAGE_MODELS if path not in self.paths]

    def describe(self) -> str:
        """One line of what was installed."""
        parts = [f"{self.words} words"]
        if self.respelled:
            parts.append(f"{self.respelled} of them written in the tokens' form of Unicode")
        if self.left_out:
            examples = ", ".join(self.left_out[:EXAMPLES])
            parts.append(f"{len(self.left_out)} others cannot be spelled with the tokens ({examples})")
        if self.lost:
            parts.append(f"{self.lost} of these could in another form of Unicode: install the ARPA file instead")
        return "; ".join(parts)


def install_language_model(source: Path, repository: Path, listed: Path | None = None) -> StagedModel:
    """Installs a language model for what has been exported to a repository.

    Args:
        source: An ARPA file, gzipped or not, or a binary of KenLM's.
        repository: Where Triton serves from.
        listed: The words of a binary that does not hold them.

    Raises:
        LanguageModelError: The file is no whole language model, or not one for these tokens; nothing was changed.
        RepositoryError: There is no repository, nothing has been exported to it, or it cannot be written.
    """
    with publication(repository) as files:
        staged = stage_language_model(source, files, _letters(repository), listed)
        files.commit(staged.paths, remove=staged.stale)
    return staged


def stage_language_model(
    source: Path, files: Publication, letters: Sequence[str], listed: Path | None = None
) -> StagedModel:
    """Writes the files of a language model to where they can be published.

    Args:
        source: An ARPA file, gzipped or not, or a binary of KenLM's.
        files: Where they go.
        letters: The tokens that words are spelled with.
        listed: The words of a binary that does not hold them.

    Raises:
        LanguageModelError: See :func:`install_language_model`.
    """
    name = str(source)
    if not source.is_file():
        raise LanguageModelError(name, "there is no such file: check the path")
    raw = files.scratch() / "language model"
    try:
        if is_gzipped(source):
            with gzip.open(source) as packed, raw.open("wb") as file:
                shutil.copyfileobj(packed, file, 2**20)
        else:
            shutil.copyfile(source, raw)
    except (gzip.BadGzipFile, EOFError, zlib.error) as error:
        raise LanguageModelError(name, f"it cannot be unpacked ({error}): copy it again") from error
    if is_binary(raw):
        path, words = LM_BINARY, binary_words(raw, name, listed)
    else:
        check_needless(listed, name)
        path, words = LM_ARPA, arpa_words(raw, name)
    spelled, left_out = _divide(words, letters)
    forms = _other_forms(left_out, words, letters)
    if forms and path == LM_ARPA:
        anew = raw.with_name("spelled anew")
        spell_anew(raw, anew, forms)
        raw = anew
        spelled, left_out = _divide([forms.get(word, word) for word in words], letters)
    if not spelled or len(spelled) < LEAST_SPELLED * len(words):
        raise LanguageModelError(
            name,
            f"{len(left_out)} of its {len(words)} words cannot be spelled with the checkpoint's tokens "
            f"({', '.join(left_out[:EXAMPLES])}): it is of another language or script",
        )
    raw.replace(files.path(path))
    files.path(LM_WORDS).write_text("".join(f"{word}\n" for word in spelled), encoding="utf-8")
    respelled, lost = (len(forms), 0) if path == LM_ARPA else (0, len(forms))
    return StagedModel((LM_WORDS, path), len(spelled), tuple(left_out), respelled, lost)


def is_of(repository: Path, checkpoint_sha256: str) -> bool:
    """Whether what the repository holds was exported from this checkpoint, so that its language model fits."""
    try:
        content = json.loads((repository / MANIFEST).read_text(encoding="utf-8"))
        return bool(content["checkpoint"]["sha256"] == checkpoint_sha256)
    except (OSError, ValueError, KeyError, TypeError):
        return False


def _letters(repository: Path) -> list[str]:
    try:
        content = json.loads((repository / VOCABULARY).read_text(encoding="utf-8"))
        silent = {*content["special_tokens"], content["blank"], content["word_delimiter"]}
        return [token for token in content["tokens"] if token not in silent]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise RepositoryError(
            f"{repository / VOCABULARY} cannot be read, so the tokens are unknown: first `shrota export onnx FOLDER`"
        ) from error


def _divide(words: Sequence[str], letters: Sequence[str]) -> tuple[list[str], list[str]]:
    """The words that can be spelled with the letters, and those that cannot."""
    tokens, longest = set(letters), max(map(len, letters), default=0)
    spelled: list[str] = []
    left_out: list[str] = []
    for word in words:
        (spelled if _can_spell(word, tokens, longest) else left_out).append(word)
    return spelled, left_out


def _other_forms(left_out: Sequence[str], words: Sequence[str], letters: Sequence[str]) -> dict[str, str]:
    """The words that can be spelled in another form of Unicode, and that form; not where it is a word itself."""
    tokens, longest = set(letters), max(map(len, letters), default=0)
    taken, forms = set(words), {}
    for word in left_out:
        for form in (unicodedata.normalize(name, word) for name in FORMS):
            if form not in taken and _can_spell(form, tokens, longest):
                taken.add(form)
                forms[word] = form
                break
    return forms


def _can_spell(word: str, tokens: set[str], longest: int) -> bool:
    """Whether tokens of up to ``longest`` characters make up the word."""
    if longest <= 1 or tokens.issuperset(word):
        return tokens.issuperset(word)
    reached = [True]
    for end in range(1, len(word) + 1):
        starts = range(max(0, end - longest), end)
        reached.append(any(reached[start] and word[start:end] in tokens for start in starts))
    return reached[-1]
