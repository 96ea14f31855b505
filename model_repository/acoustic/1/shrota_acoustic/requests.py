"""What a request asks for, checked: the parameters ``engine`` and ``sample_rate``."""

import json
import re
from collections.abc import Iterable
from dataclasses import dataclass
from fnmatch import fnmatchcase

from shrota_acoustic.errors import InvalidRequestError
from shrota_acoustic.settings import Settings

NAMES = ("engine", "sample_rate")
OF_DECODER = ("beam_width", "lm_weight", "word_score", "hotwords", "hotword_weight", "n_best", "words")
"""The parameters of ``ctc_decoder``: an ensemble hands every step all parameters of a request."""
DEFAULT_SAMPLE_RATE = 16_000
"""Hz; what audio has whose request does not say, whatever the checkpoint's own rate."""
MIN_SAMPLE_RATE = 1000
"""Hz; no speech is left at a lower rate, and few samples would become many."""
MAX_SAMPLE_RATE = 768_000
"""Hz; the highest rate that audio hardware uses."""
SHOWN = 60
"""Characters of an unknown name in an error."""
DIGITS = re.compile("[0-9]{1,9}")


@dataclass(frozen=True)
class RequestParameters:
    """The request parameters that are meant for this model; it ignores those of other steps."""

    engine: str
    sample_rate: int
    """Hz."""


def read_parameters(text: str, settings: Settings) -> RequestParameters:
    """Reads a request's parameters, a JSON object as Triton gives it.

    Raises:
        InvalidRequestError: A value that is none, or a name that no step of the ensemble knows.
    """
    values = json.loads(text) if text else {}
    _check_names(values, settings.other_parameters)
    engine = values.get("engine", settings.engine)
    if engine not in settings.engines:
        known = ", ".join(settings.engines)
        raise InvalidRequestError(f"unknown engine {engine!r} in parameter `engine`: it must be one of {known}")
    return RequestParameters(engine, _sample_rate(values.get("sample_rate", DEFAULT_SAMPLE_RATE)))


def _check_names(names: Iterable[str], others: Iterable[str]) -> None:
    """Refuses what nobody knows before the engine has run: most are misspelt, and would be missed in silence.

    ``others`` are names, or patterns of names, that are let through; upper case is lower case in them, as in headers.
    """
    for name in names:
        if name in NAMES or name in OF_DECODER:
            continue
        if not any(fnmatchcase(name.lower(), other.lower()) for other in others):
            known = ", ".join((*NAMES, *OF_DECODER))
            shown = repr(name) if len(name) <= SHOWN else f"{name[:SHOWN]!r}..."
            raise InvalidRequestError(f"unknown request parameter {shown}: it must be one of {known}")


def _sample_rate(value: object) -> int:
    """A rate in Hz; digits are taken as well, because some clients send every parameter as text."""
    rate = 0.0
    if isinstance(value, str):
        rate = float(value) if DIGITS.fullmatch(value) else 0.0
    elif isinstance(value, int | float) and not isinstance(value, bool):
        rate = float(value)
    if not rate.is_integer() or not MIN_SAMPLE_RATE <= rate <= MAX_SAMPLE_RATE:
        limits = f"from {MIN_SAMPLE_RATE} to {MAX_SAMPLE_RATE}"
        raise InvalidRequestError(f"parameter `sample_rate` must be a whole number of Hz {limits}, not {value!r}")
    return int(rate)
