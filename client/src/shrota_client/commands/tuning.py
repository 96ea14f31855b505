"""Tuning the decoder from a command: with progress bars, and every recording that failed said."""

import asyncio
import sys
from collections.abc import Sequence
from pathlib import PurePath

from shrota_client.commands.batch import report_failures
from shrota_client.commands.options import Connection
from shrota_client.decoding import Decoding
from shrota_client.inputs import Source
from shrota_client.manifest import Utterance
from shrota_client.results import Result
from shrota_client.search import Plan
from shrota_client.tuning import Tuning, hear, tune


def tune_server(utterances: Sequence[Utterance], connection: Connection, plan: Plan, concurrency: int) -> Tuning:
    """Tunes the server's decoder; ends the command where recordings fail, as the weights would not be those of the set.

    The progress bars are on standard error, and only where that is a terminal.

    Raises:
        ShrotaError: the server cannot be reached, fails, or refuses a pair of the plan.
    """
    return asyncio.run(_tune(utterances, connection, plan, concurrency))


async def _tune(utterances: Sequence[Utterance], connection: Connection, plan: Plan, concurrency: int) -> Tuning:
    from tqdm import tqdm  # noqa: PLC0415 - only needed here

    hidden = not sys.stderr.isatty()
    async with connection.client() as client:
        with tqdm(total=len(utterances), desc="listening", unit="file", disable=hidden, dynamic_ncols=True) as bar:
            heard, failed = await hear(client, utterances, concurrency, plan.checks(), bar.update)
        report_failures([(_source(each), Result(each.audio, error=error)) for each, error in failed], len(utterances))
        total = len(heard) * (2 + plan.most_trials)
        with tqdm(total=total, unit="utterance", disable=hidden, dynamic_ncols=True) as bar:

            def advance(decoding: Decoding) -> None:
                bar.set_description_str(_name(decoding), refresh=False)
                bar.update()

            tuning = await tune(client, heard, plan, concurrency, advance)
            # neighbours beyond a range, and those that were tried before, were not searched
            bar.total = bar.n
    return tuning


def _source(utterance: Utterance) -> Source:
    return Source(utterance.name, utterance.audio, PurePath(utterance.name))


def _name(decoding: Decoding) -> str:
    if decoding.beam_width == 1:
        return "greedy"
    if not decoding.lm_weight:
        return "without model"
    return f"lm_weight {decoding.lm_weight:g}, word_score {decoding.word_score:g}"
