"""The tokens that the checkpoint knows, as ``vocab.json`` beside ``model.py`` gives them."""

import json
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from shrota_decoder.errors import SettingsError
from shrota_decoder.marks import begins_with_mark


class VocabularyError(SettingsError):
    """``vocab.json`` is missing or is not what the export writes."""


@dataclass(frozen=True)
class Vocabulary:
    """Tokens by id and the roles of some of them.

    Attributes:
        tokens: The token of id 0, 1, ...
        blank_id: CTC's blank.
        delimiter_id: The token between words; None where the checkpoint has none (the text is one word then).
        special_ids: Tokens that never stand in a transcript (``<s>``, ``<unk>``, ...), the blank among them.
        frame_seconds: Seconds from one frame to the next.
    """

    tokens: tuple[str, ...]
    blank_id: int
    delimiter_id: int | None
    special_ids: frozenset[int]
    frame_seconds: float

    @classmethod
    def read(cls, path: Path) -> "Vocabulary":
        """Reads ``vocab.json``.

        Raises:
            VocabularyError: The file is missing, or a key of it is, or a role names a token that is not there.
        """
        remedy = "write it with `shrota export onnx CHECKPOINT`"
        try:
            content = json.loads(path.read_text(encoding="utf-8"))
            tokens = [str(token) for token in content["tokens"]]
            delimiter = content["word_delimiter"]
            return cls(
                tokens=tuple(tokens),
                blank_id=tokens.index(content["blank"]),
                delimiter_id=None if delimiter is None else tokens.index(delimiter),
                special_ids=frozenset(tokens.index(token) for token in [content["blank"], *content["special_tokens"]]),
                frame_seconds=float(content["frame_seconds"]),
            )
        except FileNotFoundError:
            raise VocabularyError(f"{path} is missing: {remedy}") from None
        except KeyError as error:
            raise VocabularyError(f"{path} has no key {error}: {remedy}") from None
        except (OSError, TypeError, ValueError) as error:
            raise VocabularyError(f"{path} cannot be used ({error}): {remedy}") from None

    @cached_property
    def letters(self) -> dict[str, int]:
        """The tokens that words are spelled with, and their ids."""
        silent = {*self.special_ids, self.delimiter_id}
        return {token: index for index, token in enumerate(self.tokens) if index not in silent}

    @cached_property
    def mark_ids(self) -> NDArray[np.int64]:
        """The letters that begin with a combining mark, as ids in ascending order, [marks]."""
        return np.array(sorted(index for token, index in self.letters.items() if begins_with_mark(token)), np.int64)

    @cached_property
    def is_special(self) -> NDArray[np.bool_]:
        """Which tokens never stand in a transcript, [tokens]."""
        return np.isin(np.arange(len(self.tokens)), list(self.special_ids))

    @cached_property
    def is_mark(self) -> NDArray[np.bool_]:
        """Which tokens are letters that begin with a combining mark, [tokens]."""
        return np.isin(np.arange(len(self.tokens)), self.mark_ids)

    def spell(self, word: str) -> list[int] | None:
        """The fewest tokens that make up ``word``, as ids; None where it cannot be spelled."""
        longest = max(map(len, self.letters), default=0)
        spellings: list[list[int] | None] = [[]]
        for end in range(1, len(word) + 1):
            best: list[int] | None = None
            for start in range(max(0, end - longest), end):
                before, token = spellings[start], self.letters.get(word[start:end])
                if before is not None and token is not None and (best is None or len(before) + 1 < len(best)):
                    best = [*before, token]
            spellings.append(best)
        return spellings[-1]
