"""How the server's decoder searches, and what it answers: beam, language model, hotwords, alternatives."""

import json
import math
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields, replace
from typing import Any

from shrota_client.errors import ParameterError
from shrota_client.message import Parameter

Hotword = str | tuple[str, float]
"""A word or phrase to favour, alone or with a boost of its own."""

COUNTS = ("beam_width", "n_best")
WEIGHTS = ("lm_weight", "word_score", "hotword_weight")
ROUNDED = ("lm_weight", "word_score")
EMPTY_LIST = ' \t\r\n,[]"'
"""What a text without a single hotword is made of."""


@dataclass(frozen=True)
class Decoding:
    """Settings of the decoder, which travel as request parameters; None leaves one to the server.

    Those that can have no effect beside the others are refused, here or by the server: see :func:`check_effects`.

    Attributes:
        beam_width: transcripts that the search keeps at every frame; 1 is greedy.
        lm_weight: how much the language model counts beside the audio; the server rounds it to hundredths.
        word_score: added to a transcript's score for each of its words, where a language model counts; above zero
            favours more words.
        hotwords: words or phrases to favour, each alone or as ``(phrase, boost)``; an empty list favours none.
        hotword_weight: the boost of hotwords that have none of their own.
        n_best: how many readings to answer as ``alternatives``.
        words: whether to answer the words with their times and confidences.

    Raises:
        ParameterError: a value of the wrong type, or one that no decoder can follow.
    """

    beam_width: int | None = None
    lm_weight: float | None = None
    word_score: float | None = None
    hotwords: Sequence[Hotword] | None = None
    hotword_weight: float | None = None
    n_best: int | None = None
    words: bool | None = None

    def __post_init__(self) -> None:
        for name in COUNTS:
            _check_count(name, getattr(self, name))
        if self.beam_width is not None and self.n_best is not None and self.n_best > self.beam_width:
            raise ParameterError(
                f"n_best is {self.n_best}, but a search with beam_width {self.beam_width} ends with no more than "
                f"{self.beam_width}: raise beam_width, or lower n_best"
            )
        for name in WEIGHTS:
            _check_weight(name, getattr(self, name))
        if self.hotwords is not None:
            # a list could be changed after its check
            object.__setattr__(self, "hotwords", _checked_hotwords(self.hotwords))
        if not isinstance(self.words, bool | None):
            raise ParameterError(f"words is {self.words!r}: give True or False")

    def updated(self, other: "Decoding | None") -> "Decoding":
        """These settings, and over them those that ``other`` has.

        Raises:
            ParameterError: the two do not go together.
        """
        return self if other is None else replace(self, **_given(other))

    def parameters(self) -> dict[str, Parameter]:
        """The request parameters: what is set, weights as floats, the hotwords as a JSON list."""
        given = _given(self)
        given.update({name: float(given[name]) for name in WEIGHTS if name in given})
        if self.hotwords is not None:
            given["hotwords"] = json.dumps(self.hotwords, ensure_ascii=False)
        return given


def check_given_once(parameters: Mapping[str, Parameter], decoding: Decoding | None) -> None:
    """Refuses request parameters that ``decoding`` gives as well: either may be what the caller meant.

    Raises:
        ParameterError: there is one.
    """
    for name in decoding.parameters() if decoding is not None else ():
        if name in parameters:
            raise ParameterError(f"{name} is given twice, as a request parameter and for the decoder: give it once")


def check_effects(parameters: Mapping[str, Parameter]) -> None:
    """Refuses what can have no effect on any server: it is better said before audio is sent.

    What depends on the server's own settings, and numbers that are sent as text, the server checks.

    Args:
        parameters: all of one request.

    Raises:
        ParameterError: there is one. What asks for nothing, a 0 or an empty list, is none.
    """
    for reason in _without_effect(parameters).values():
        raise ParameterError(reason)


def with_effect(usual: Mapping[str, Parameter], given: Mapping[str, Parameter]) -> dict[str, Parameter]:
    """The parameters of a request: what the call gives, over what a client says for all its calls.

    What the client says waits where the call leaves it without effect: ``lm_weight`` in a call with ``beam_width`` 1.

    Raises:
        ParameterError: something that the call itself gives can have no effect.
    """
    merged = {**usual, **given}
    while idle := _without_effect(merged):
        for name, reason in idle.items():
            if name in given:
                raise ParameterError(reason)
            del merged[name]
    return merged


def _without_effect(parameters: Mapping[str, Parameter]) -> dict[str, str]:
    """What can have no effect, and what to do about it."""
    asked = {name for name in (*WEIGHTS, "hotwords") if _asks(parameters.get(name))}
    idle: dict[str, str] = {}
    if _number(parameters.get("beam_width")) == 1:
        for name in ("lm_weight", "word_score", "hotwords"):
            if name in asked:
                idle[name] = f"{name} has no effect on greedy decoding: raise beam_width, or give no {name}"
    for name in ROUNDED:
        if name in asked and round(_number(parameters[name]), 2) == 0:
            idle.setdefault(
                name, f"{name} is rounded to hundredths, and {parameters[name]} is 0 then: give 0.01 or more"
            )
    if "word_score" in asked and _number(parameters.get("lm_weight")) == 0:
        idle.setdefault(
            "word_score", "word_score has no effect with lm_weight 0: give lm_weight above 0, or no word_score"
        )
    if "hotword_weight" in asked and "hotwords" not in parameters:
        idle["hotword_weight"] = "hotword_weight has no effect without hotwords: give some, or no hotword_weight"
    return idle


def _number(value: object) -> float:
    """A number as it is; of text, and of what the request cannot carry, nothing is known here: NaN."""
    return value if isinstance(value, int | float) and not isinstance(value, bool) else math.nan


def _asks(value: object) -> bool:
    """Whether it is a number other than 0, or a text that may name hotwords."""
    if isinstance(value, str):
        return bool(value.strip(EMPTY_LIST)) and not _is_number(value)
    return not math.isnan(number := _number(value)) and number != 0


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


def _check_count(name: str, value: object) -> None:
    if value is None:
        return
    if isinstance(value, bool) or not isinstance(value, int):
        raise ParameterError(f"{name} is {value!r}: give a whole number")
    if value < 1:
        raise ParameterError(f"{name} is {value}: give 1 or more")


def _check_weight(name: str, value: object) -> None:
    if value is None:
        return
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise ParameterError(f"{name} is {value!r}: give a number")
    # no comparison with NaN is true; an int may be too large for a float
    if not abs(value) <= sys.float_info.max:
        raise ParameterError(f"{name} is no finite number: give one")


def _checked_hotwords(hotwords: object) -> tuple[Hotword, ...]:
    if isinstance(hotwords, str | bytes) or not isinstance(hotwords, Sequence):
        raise ParameterError(f"hotwords is a {type(hotwords).__name__}: give a list of words or (word, boost) pairs")
    return tuple(_checked_hotword(each) for each in hotwords)


def _checked_hotword(hotword: object) -> Hotword:
    """The word or pair, with single spaces in a phrase; a list of two is a pair as well."""
    match hotword:
        case str(word):
            boost = None
        case [str(word), boost] if boost is not None:
            _check_weight(f"the boost of the hotword {word!r}", boost)
        case _:
            raise ParameterError(
                f"the hotword {hotword!r} is neither a word nor a (word, boost) pair: give one of them"
            )
    phrase = " ".join(word.split())
    if not phrase:
        raise ParameterError("a hotword is empty: give a word or phrase, or leave it out")
    return phrase if boost is None else (phrase, float(boost))


def _given(decoding: Decoding) -> dict[str, Any]:
    """The settings that are not left to the server."""
    return {each.name: value for each in fields(decoding) if (value := getattr(decoding, each.name)) is not None}
