"""Hotwords of a request: words that a beam search shall prefer where the audio leaves a choice."""

import json
import re
import unicodedata
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from shrota_decoder.errors import RequestRefusedError
from shrota_decoder.values import as_number, shown
from shrota_decoder.vocabulary import Vocabulary

MAX_WEIGHT = 100.0
MAX_CHARACTERS = 100
"""of one hotword"""
SPARE = 50
"""Characters beside a hotword's own: its boost, quotes, commas."""
MAX_LEVELS = 4
"""Different boosts in one request: a search runs for each (``beam.py``)."""
NUMBER = re.compile(r"[-+.]*\d\S*")
"""What makes a boost of that which follows a colon, in any script's digits; the colon is part of the word otherwise."""
VISARGA = "\u0903"
SHAPE = "words separated by commas, or a JSON list, each WORD or WORD:BOOST, or [WORD, BOOST] in the list"


@dataclass(frozen=True)
class Hotword:
    """A word or several; ``boost`` takes the place of the request's ``hotword_weight``, None leaves that."""

    text: str
    boost: float | None = None


def read_hotwords(value: object, most: int) -> tuple[Hotword, ...]:
    """The parameter ``hotwords``, its text in Unicode's NFC.

    Args:
        value: A JSON list, as text, or words separated by commas.
        most: How many there may be.

    Raises:
        RequestRefusedError: It is neither, an item is malformed or too long, or there are too many.
    """
    if not isinstance(value, str):
        raise RequestRefusedError(f"parameter `hotwords` must be text: {SHAPE}")
    if len(value) > most * (MAX_CHARACTERS + SPARE):
        raise RequestRefusedError(f"parameter `hotwords` has {len(value)} characters: send {most} words at most")
    items: Iterable[object] = value.split(",")
    if value.lstrip().startswith(("[", "{", '"')):
        try:
            items = json.loads(value)
        except (ValueError, RecursionError) as error:
            raise RequestRefusedError(f"parameter `hotwords` is no JSON list ({error}): send {SHAPE}") from None
        if not isinstance(items, list):
            raise RequestRefusedError(f"parameter `hotwords` is JSON, but no list: send {SHAPE}")
    read = tuple(hotword for hotword in map(_read_item, items) if hotword.text)
    if len(read) > most:
        raise RequestRefusedError(f"parameter `hotwords` has {len(read)} words: send {most} at most")
    if len({hotword.boost for hotword in read}) > MAX_LEVELS:
        raise RequestRefusedError(f"parameter `hotwords` has more than {MAX_LEVELS} different boosts: use fewer")
    return read


def _read_item(item: object) -> Hotword:
    text, boost = item, None
    if isinstance(item, list) and len(item) == 2:  # noqa: PLR2004 - a pair
        text, boost = item
    elif isinstance(item, dict) and set(item) <= {"word", "boost"}:
        text, boost = item.get("word"), item.get("boost")
    elif isinstance(item, str):
        word, _, number = item.rpartition(":")
        if word.strip() and NUMBER.fullmatch(number.strip()):
            text, boost = word, number.strip()
    if not isinstance(text, str) or "\0" in text:
        raise RequestRefusedError(f"parameter `hotwords` has an item {shown(item)}: send {SHAPE}")
    # joiners and the like change how a word looks, and no token stands for them
    visible = "".join(letter for letter in text if unicodedata.category(letter) != "Cf")
    text = unicodedata.normalize("NFC", " ".join(visible.split()))
    if len(text) > MAX_CHARACTERS:
        raise RequestRefusedError(
            f"parameter `hotwords` has one of {len(text)} characters: send words of {MAX_CHARACTERS} at most"
        )
    return Hotword(text, None if boost is None else _read_boost(boost, item))


def _read_boost(value: object, item: object) -> float:
    boost = as_number(value)
    if not 0 <= boost <= MAX_WEIGHT:
        raise RequestRefusedError(
            f"parameter `hotwords` has the boost {shown(value)} in {shown(item)}: "
            f"it must be a number from 0 to {MAX_WEIGHT:g}"
        )
    return boost


def weigh(hotwords: Sequence[Hotword], weight: float, vocabulary: Vocabulary) -> dict[str, float]:
    """What each single word adds to a reading, spelled as the vocabulary spells it.

    Args:
        hotwords: Of several words in one hotword each counts by itself, as in pyctcdecode.
        weight: Of those without a boost.
        vocabulary: Letters may be composed in Unicode where they are several tokens, or the other way round.

    Raises:
        RequestRefusedError: A word cannot be spelled, so it could never be heard.
    """
    weights: dict[str, float] = {}
    for hotword in hotwords:
        boost = weight if hotword.boost is None else hotword.boost
        for word in hotword.text.split():
            # many write a visarga as a colon
            forms = (word, unicodedata.normalize("NFD", word), word.replace(":", VISARGA))
            spelled = next((form for form in forms if vocabulary.spell(form) is not None), None)
            if spelled is None:
                unknown = sorted({letter for letter in forms[1] if letter not in vocabulary.letters})
                raise RequestRefusedError(
                    f"hotword {word!r} cannot be spelled with the checkpoint's letters "
                    f"(it has no {', '.join(map(repr, unknown)) or 'such tokens'}): "
                    "write it as it is spoken, in the checkpoint's script, or leave it out"
                )
            weights[spelled] = max(boost, weights.get(spelled, 0.0))
    return {word: boost for word, boost in weights.items() if boost > 0}
