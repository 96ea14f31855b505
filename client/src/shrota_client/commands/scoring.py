"""Transcribing the utterances of a manifest and scoring each as it arrives."""

import time
from collections.abc import Callable, Sequence
from pathlib import PurePath

from shrota_client.commands.batch import transcribe_sources
from shrota_client.commands.options import Connection
from shrota_client.inputs import Source
from shrota_client.manifest import Utterance
from shrota_client.results import Result
from shrota_client.score import UtteranceScore, score_utterance


def score_server(
    utterances: Sequence[Utterance], connection: Connection, concurrency: int, add: Callable[[UtteranceScore], None]
) -> tuple[list[tuple[Source, Result]], float]:
    """Has the server transcribe all utterances; hands each score to ``add``, in order.

    Returns:
        The utterances that failed, and the seconds that all took together.
    """
    references = iter(utterances)

    def take(_source: Source, result: Result) -> None:
        utterance = next(references)
        if result.transcript is not None:
            heard = result.transcript
            add(score_utterance(utterance.name, utterance.text or "", heard.text, heard.duration, heard.elapsed_s))

    sources = [Source(each.name, each.audio, PurePath(each.name)) for each in utterances]
    start = time.monotonic()
    failed = transcribe_sources(sources, connection, concurrency, take)
    return failed, time.monotonic() - start
