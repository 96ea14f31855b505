"""What a request asks of the decoder, checked; every failure is one line that says what to do."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from fnmatch import fnmatchcase

from shrota_decoder.errors import RequestRefusedError
from shrota_decoder.hotwords import MAX_WEIGHT, Hotword, read_hotwords
from shrota_decoder.values import as_number, shown

NAMES = ("beam_width", "lm_weight", "word_score", "hotwords", "hotword_weight", "n_best", "words")
OF_ACOUSTIC = ("engine", "sample_rate")
"""The parameters of ``acoustic``: an ensemble hands every step all parameters of a request."""
MAX_LM_WEIGHT = 10.0
MAX_WORD_SCORE = 20.0
WEIGHT_DIGITS = 2
"""The language model's weights are rounded to this, because it is loaded for each pair of them (``beam.py``)."""
YES_AND_NO = {"true": True, "false": False, "1": True, "0": False}


@dataclass(frozen=True)
class Limits:
    """The most that a request may ask for."""

    beam_width: int = 500
    n_best: int = 50
    hotwords: int = 1000


@dataclass(frozen=True)
class Parameters:
    """The request parameters that are meant for the decoder."""

    beam_width: int = 1
    """Readings kept from frame to frame; 1 is greedy decoding."""
    lm_weight: float = 0.0
    """Factor of the language model's log-probabilities; 0 does without it."""
    word_score: float = 0.0
    """Added for each word, against the language model's liking for few words."""
    hotword_weight: float = 10.0
    """Added for each hotword that has no boost of its own."""
    n_best: int = 1
    """Readings to give as alternatives, the text first; 1 gives none beside the text."""
    words: bool = True
    """Whether to give the words with their times and confidences."""
    hotwords: tuple[Hotword, ...] = ()
    asks_for_lm: bool = False
    """Whether the request itself, not the default, weighs a language model."""


def check_names(names: Iterable[str], others: Iterable[str]) -> None:
    """Refuses parameters that no step of the ensemble knows: most are misspelt, and would be missed in silence.

    Args:
        names: Of the request's parameters.
        others: Names, or patterns of names, that are let through.

    Raises:
        RequestRefusedError: There is one; names all that are known.
    """
    for name in names:
        if name not in NAMES and name not in OF_ACOUSTIC and not _is_like_any(name, others):
            known = ", ".join((*OF_ACOUSTIC, *NAMES))
            raise RequestRefusedError(f"unknown request parameter {shown(name)}: it must be one of {known}")


def _is_like_any(name: str, patterns: Iterable[str]) -> bool:
    """Upper case is lower case here, as in the names of headers."""
    return any(fnmatchcase(name.lower(), pattern.lower()) for pattern in patterns)


def read_parameters(values: Mapping[str, object], defaults: Parameters, limits: Limits) -> Parameters:
    """Reads a request's parameters; those of other steps are ignored.

    Args:
        values: The request's parameters. Numbers may be text, because some clients send every parameter so.
        defaults: What is taken where the request says nothing.
        limits: The most that it may ask for.

    Raises:
        RequestRefusedError: A value is malformed, out of its limits, or can have no effect.
    """
    read = read_values(values, defaults, limits)
    _check_effects(values, read)
    weighs_words = "word_score" in values and read.word_score != 0
    return replace(read, asks_for_lm=read.lm_weight > 0 and ("lm_weight" in values or weighs_words))


def read_values(values: Mapping[str, object], defaults: Parameters, limits: Limits) -> Parameters:
    """As :func:`read_parameters`, for the defaults themselves: those of a beam may stand beside greedy decoding."""
    given = _Reader(values)
    lm_weight = given.number("lm_weight", defaults.lm_weight, 0.0, MAX_LM_WEIGHT)
    word_score = given.number("word_score", defaults.word_score, -MAX_WORD_SCORE, MAX_WORD_SCORE)
    for name, value, without in (
        ("lm_weight", lm_weight, "do without the language model"),
        ("word_score", word_score, "favour neither more words nor fewer"),
    ):
        if value != 0 and round(value, WEIGHT_DIGITS) == 0:
            raise RequestRefusedError(
                f"parameter `{name}` is rounded to hundredths, and {value:g} is 0 then: "
                f"send 0.01 or more, or 0 to {without}"
            )
    read = Parameters(
        beam_width=given.count("beam_width", defaults.beam_width, limits.beam_width),
        lm_weight=round(lm_weight, WEIGHT_DIGITS),
        word_score=round(word_score, WEIGHT_DIGITS),
        hotword_weight=given.number("hotword_weight", defaults.hotword_weight, 0.0, MAX_WEIGHT),
        n_best=given.count("n_best", defaults.n_best, limits.n_best),
        words=given.choice("words", defaults.words),
        hotwords=read_hotwords(values["hotwords"], limits.hotwords) if "hotwords" in values else defaults.hotwords,
    )
    if "n_best" not in values and "beam_width" in values:
        read = replace(read, n_best=min(read.n_best, read.beam_width))
    if read.n_best > read.beam_width:
        raise RequestRefusedError(
            f"parameter `n_best` is {read.n_best}, but a beam of {read.beam_width} has no more readings than that: "
            f"send `beam_width` of at least {read.n_best}"
        )
    return read


def _check_effects(values: Mapping[str, object], read: Parameters) -> None:
    """Refuses what can have no effect beside the rest of the request, rather than do without it unasked.

    What asks for nothing, a 0 or an empty list, passes.
    """
    asked = {
        "lm_weight": read.lm_weight != 0,
        "word_score": read.word_score != 0,
        "hotwords": bool(read.hotwords),
    }
    for name, counts in asked.items():
        if read.beam_width == 1 and name in values and counts:
            raise RequestRefusedError(
                f"parameter `{name}` has no effect on greedy decoding: "
                "send `beam_width` of 2 or more with it (100 is usual), or leave it out"
            )
    if "word_score" in values and read.word_score != 0 and read.lm_weight == 0:
        raise RequestRefusedError(
            "parameter `word_score` has no effect without a language model: "
            "send `lm_weight` above 0 with it, or leave it out"
        )
    # an empty list passes: a program may send it where it has no words this time
    if "hotword_weight" in values and read.hotword_weight != 0 and "hotwords" not in values:
        raise RequestRefusedError(
            "parameter `hotword_weight` has no effect without `hotwords`: send them with it, or leave it out"
        )


class _Reader:
    """A request's parameters as numbers; every error names the parameter and what it must be."""

    def __init__(self, values: Mapping[str, object]) -> None:
        self._values = values

    def number(self, name: str, default: float, least: float, most: float) -> float:
        value = as_number(self._values.get(name, default))
        if not least <= value <= most:
            text = f"parameter `{name}` must be a number from {least:g} to {most:g}, not {self._shown(name)}"
            raise RequestRefusedError(text)
        return value

    def count(self, name: str, default: int, most: int) -> int:
        value = as_number(self._values.get(name, default))
        if not 1 <= value <= most or not value.is_integer():
            text = f"parameter `{name}` must be a whole number from 1 to {most}, not {self._shown(name)}"
            raise RequestRefusedError(text)
        return int(value)

    def choice(self, name: str, default: bool) -> bool:
        value = YES_AND_NO.get(str(self._values.get(name, default)).strip().lower())
        if value is None:
            raise RequestRefusedError(f"parameter `{name}` must be true or false, not {self._shown(name)}")
        return value

    def _shown(self, name: str) -> str:
        return shown(self._values.get(name))
