"""Options of the server's decoder, for every command that calls a server."""

from pathlib import Path

import click

from shrota_client.decoding import Decoding, Hotword
from shrota_client.hotwords import parse_hotword, read_hotwords

HOTWORD_OPTIONS = (
    click.option(
        "--hotword",
        "hotwords",
        metavar="WORD[:BOOST]",
        multiple=True,
        help="Word or phrase to favour, with a boost of its own if one follows; may be repeated. Needs a beam of 2 or "
        "more.",
    ),
    click.option(
        "--hotwords-file",
        type=click.Path(path_type=Path),
        metavar="FILE",
        help="File with a WORD[:BOOST] on each line, added to those of --hotword.",
    ),
    click.option(
        "--hotword-weight",
        type=float,
        metavar="NUMBER",
        help="Boost of hotwords that have none of their own; needs hotwords.",
    ),
)
DECODING_OPTIONS = (
    click.option(
        "--beam-width",
        type=int,
        metavar="COUNT",
        help="Transcripts that the decoder's search keeps at every frame; 1 is greedy. This and the following are as "
        "the server is set up, unless given.",
    ),
    click.option(
        "--lm-weight",
        type=float,
        metavar="NUMBER",
        help="How much the language model counts, in hundredths; 0 does without it. Needs a beam of 2 or more.",
    ),
    click.option(
        "--word-score",
        type=float,
        metavar="NUMBER",
        help="Added to a transcript's score for each word, where a language model counts.",
    ),
    *HOTWORD_OPTIONS,
    click.option(
        "--n-best",
        type=int,
        metavar="COUNT",
        help="How many readings to give as alternatives, in JSON; no more than --beam-width.",
    ),
    click.option(
        "--words/--no-words",
        default=None,
        help="Whether the answer has the words with their times and confidences; subtitles always do.",
    ),
)
"""Decorators, in the order of the help text."""


def decoding(
    *,
    hotwords: tuple[str, ...],
    hotwords_file: Path | None,
    hotword_weight: float | None,
    beam_width: int | None = None,
    lm_weight: float | None = None,
    word_score: float | None = None,
    n_best: int | None = None,
    words: bool | None = None,
) -> Decoding:
    """The settings that :data:`DECODING_OPTIONS`, or :data:`HOTWORD_OPTIONS` alone, make.

    Raises:
        ParameterError: an option that cannot be used, or two that do not go together.
    """
    favoured: list[Hotword] | None = None
    if hotwords or hotwords_file is not None:
        favoured = [parse_hotword(text) for text in hotwords]
        favoured += [] if hotwords_file is None else read_hotwords(hotwords_file)
    return Decoding(
        beam_width=beam_width,
        lm_weight=lm_weight,
        word_score=word_score,
        hotwords=favoured,
        hotword_weight=hotword_weight,
        n_best=n_best,
        words=words,
    )
