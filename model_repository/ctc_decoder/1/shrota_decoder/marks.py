"""No word begins with a combining mark (Unicode category M) that a delimiter cut off from what came before it.

A mark is part of the letter before it, but nothing keeps a recogniser from hearing a delimiter between the two. The
rule, for every mode of decoding, for text, words with their times, and alternatives alike:

* Delimiters that a mark follows are no word boundary if anything but delimiters came before them in the utterance:
  they count as silence, and the mark, with what follows it, belongs to the word before.
* A mark that is the first token of an utterance has nothing to join; it is kept, as the beginning of the first word.

So no word but the first can begin with a mark.
"""

import unicodedata
from collections.abc import Iterable

import numpy as np
from numpy.typing import NDArray


def begins_with_mark(text: str) -> bool:
    """Whether the first character is a combining mark; an empty text has none."""
    return unicodedata.category(text[0]).startswith("M") if text else False


def attach_marks(words: Iterable[str]) -> tuple[str, ...]:
    """The words of one utterance after the rule: what begins with a mark is joined to the word before it."""
    attached: list[str] = []
    for word in words:
        if attached and begins_with_mark(word):
            attached[-1] += word
        else:
            attached.append(word)
    return tuple(attached)


def cut_marks_off(
    token_ids: NDArray[np.int64], delimiter_id: int | None, is_mark: NDArray[np.bool_]
) -> NDArray[np.bool_]:
    """Which tokens of an utterance are delimiters that are no word boundary by the rule, [tokens].

    Args:
        token_ids: The utterance's tokens, repeats joined and special ones dropped, [tokens].
        delimiter_id: The delimiter; without one, None, nothing is.
        is_mark: Which tokens of the vocabulary begin with a mark, [vocabulary].
    """
    if delimiter_id is None:
        return np.zeros(token_ids.size, bool)
    is_delimiter = token_ids == delimiter_id
    said = np.flatnonzero(~is_delimiter)
    # the number of the first token that is said behind each token, or of itself
    following = np.searchsorted(said, np.arange(token_ids.size))
    before_mark = np.append(is_mark[token_ids[said]], False)[following]
    result: NDArray[np.bool_] = is_delimiter & (following > 0) & before_mark
    return result
