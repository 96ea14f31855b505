"""``vocab.json``: what the decoder must know of the tokens."""

from dataclasses import asdict, dataclass
from typing import Any

from shrota_export.errors import CheckpointError


@dataclass(frozen=True)
class Vocabulary:
    """The tokens of a CTC model."""

    tokens: list[str]
    """of id 0, 1, ..."""
    blank: str
    """Hugging Face's padding token, which is CTC's blank"""
    word_delimiter: str | None
    special_tokens: list[str]
    """tokens that are no text, the blank among them"""

    @property
    def letters(self) -> list[str]:
        """The tokens that words are spelled with."""
        return [token for token in self.tokens if token not in {*self.special_tokens, self.word_delimiter}]

    def as_json(self, frame_seconds: float) -> dict[str, Any]:
        """The content of ``vocab.json``; ``frame_seconds`` lie between one frame and the next."""
        return {**asdict(self), "frame_seconds": frame_seconds}


def read_vocabulary(name: str, tokenizer: Any, size: int) -> Vocabulary:
    """The vocabulary of a Hugging Face tokenizer, for a model with ``size`` outputs.

    Tokens beyond the model's outputs (a tokenizer adds ``<s>`` and others if its file lacks them) are left out.

    Raises:
        CheckpointError: if an output has no token, or there is no padding token among them.
    """
    by_id = {index: token for token, index in tokenizer.get_vocab().items() if index < size}
    unnamed = [index for index in range(size) if index not in by_id]
    if unnamed:
        raise CheckpointError(name, f"its model has {size} outputs, but its tokenizer has no token of id {unnamed[0]}")
    tokens = [by_id[index] for index in range(size)]
    blank = tokenizer.pad_token
    if blank not in tokens:
        raise CheckpointError(name, f"its padding token {blank!r}, which CTC uses as blank, is not in the vocabulary")
    delimiter = tokenizer.word_delimiter_token
    special = {blank, tokenizer.bos_token, tokenizer.eos_token, tokenizer.unk_token, *tokenizer.all_special_tokens}
    special.discard(delimiter)
    return Vocabulary(
        tokens=tokens,
        blank=blank,
        word_delimiter=delimiter if delimiter in tokens else None,
        special_tokens=[token for token in tokens if token in special],
    )
