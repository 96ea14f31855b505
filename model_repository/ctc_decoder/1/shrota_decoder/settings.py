"""The settings of the decoder: ``parameters`` of its ``config.pbtxt``."""

import json
import math
import os
from collections.abc import Mapping
from dataclasses import dataclass

from shrota_decoder.errors import RequestRefusedError, SettingsError
from shrota_decoder.parameters import Limits, Parameters, read_values

REQUEST_DEFAULTS = {
    "beam_width": "1",
    "lm_weight": "0.5",
    "word_score": "1.5",
    "hotword_weight": "10",
    "n_best": "1",
    "words": "true",
}
"""What a request may say otherwise."""

DEFAULTS = {
    **REQUEST_DEFAULTS,
    "max_beam_width": "500",
    "max_n_best": "50",
    "max_hotwords": "1000",
    "other_parameters": "id",
    "token_min_log_prob": "-5",
    "beam_min_log_prob": "-10",
    "unknown_word_log10_prob": "-10",
    "segment_seconds": "30",
    "lm_copies": "4",
    "threads": "0",
}


@dataclass(frozen=True)
class Settings:
    """Everything that the decoder can be told; log-probabilities are natural unless they say log10."""

    defaults: Parameters
    limits: Limits
    token_min_log_prob: float = -5.0
    """A token below this extends no beam, unless it is the frame's best."""
    beam_min_log_prob: float = -10.0
    """A beam that far behind the best is dropped."""
    unknown_word_log10_prob: float = -10.0
    """Added to the language model's log10-probability of a word that it does not know."""
    segment_seconds: float = 30.0
    """Longer audio is searched in segments of at most this length, cut in pauses between words."""
    lm_copies: int = 4
    """Pairs of ``lm_weight`` and ``word_score`` for which the language model is kept loaded."""
    threads: int = 1
    """Beam searches at a time."""
    other_parameters: tuple[str, ...] = ()
    """Names of request parameters, or patterns of names, that are let through though no step knows them."""


class _Reader:
    """The model's parameters as numbers; every error names the parameter and what it must be."""

    def __init__(self, parameters: Mapping[str, str]) -> None:
        # names in capitals are the Python backend's own
        unknown = sorted(name for name in parameters if name not in DEFAULTS and not name.isupper())
        if unknown:
            raise SettingsError(f"unknown parameter `{unknown[0]}`; known are: {', '.join(DEFAULTS)}")
        self.values = {**DEFAULTS, **parameters}

    def number(self, name: str, least: float, most: float) -> float:
        try:
            value = float(self.values[name])
        except ValueError:
            value = math.nan
        if not least <= value <= most:
            text = f"parameter `{name}` must be a number from {least:g} to {most:g}, not {self.values[name]!r}"
            raise SettingsError(text)
        return value

    def count(self, name: str, least: int, most: int) -> int:
        value = self.number(name, least, most)
        if not value.is_integer():
            raise SettingsError(f"parameter `{name}` must be a whole number, not {self.values[name]!r}")
        return int(value)


def usable_processors() -> int:
    """The processors that this process may run on, where the system tells (Linux); else all there are, at least one."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def read_settings(parameters: Mapping[str, str]) -> Settings:
    """Checks the model's parameters; those that are missing get ``DEFAULTS``.

    Raises:
        SettingsError: A parameter is unknown, not a number, or out of range; names the parameter.
    """
    read = _Reader(parameters)
    limits = Limits(
        beam_width=read.count("max_beam_width", 1, 10_000),
        n_best=read.count("max_n_best", 1, 10_000),
        hotwords=read.count("max_hotwords", 0, 100_000),
    )
    try:
        defaults = read_values({name: read.values[name] for name in REQUEST_DEFAULTS}, Parameters(), limits)
    except RequestRefusedError as error:
        raise SettingsError(f"config.pbtxt: {error}") from None
    return Settings(
        defaults=defaults,
        limits=limits,
        token_min_log_prob=read.number("token_min_log_prob", -1000, 0),
        beam_min_log_prob=read.number("beam_min_log_prob", -1000, 0),
        unknown_word_log10_prob=read.number("unknown_word_log10_prob", -100, 0),
        segment_seconds=read.number("segment_seconds", 1, 600),
        lm_copies=read.count("lm_copies", 1, 64),
        threads=read.count("threads", 0, 256) or usable_processors(),
        other_parameters=tuple(name.strip() for name in read.values["other_parameters"].split(",") if name.strip()),
    )


def load_settings(model_config: str) -> Settings:
    """Settings out of the model's configuration, JSON as Triton gives it.

    Raises:
        SettingsError: See :func:`read_settings`.
    """
    parameters = json.loads(model_config).get("parameters", {})
    return read_settings({name: value["string_value"] for name, value in parameters.items()})
