"""Tuning the decoder from a command: with progress bars, and every recording that failed said."""

import asyncio
import sys
from collections.abc import Callable, Sequence
from pathlib import PurePath

import click

from shrota_client.commands.batch import report_failures
from shrota_client.commands.options import Connection
from shrota_client.decoding import Decoding
from shrota_client.inputs import Source
from shrota_client.manifest import Utterance
from shrota_client.results import Result
from shrota_client.tuning import Pass, Tuning, compute_log_probs, tune
from shrota_client.tuning_plan import Plan
from shrota_client.tuning_report import name, progress


def tune_server(
    utterances: Sequence[Utterance],
    connection: Connection,
    plan: Plan,
    concurrency: int,
    on_pass: Callable[[Pass], object],
) -> Tuning:
    """Tunes the server's decoder; ends the command where recordings fail, as the weights would not be those of the set.

    Progress is on standard error: bars where that is a terminal, else a line for each pair. Ctrl-C ends requests on
    their way at once; ``on_pass`` has been called with each pair that came to its end.

    Raises:
        ShrotaError: the server cannot be reached, fails, or refuses a pair of the plan.
    """
    return asyncio.run(_tune(utterances, connection, plan, concurrency, on_pass))


async def _tune(
    utterances: Sequence[Utterance],
    connection: Connection,
    plan: Plan,
    concurrency: int,
    on_pass: Callable[[Pass], object],
) -> Tuning:
    from tqdm import tqdm  # noqa: PLC0415 - only needed here

    hidden = not sys.stderr.isatty()
    async with connection.client() as client:
        with tqdm(total=len(utterances), desc="listening", unit="file", disable=hidden, dynamic_ncols=True) as bar:
            computed, failed = await compute_log_probs(client, utterances, concurrency, plan.checks(), bar.update)
        report_failures([(_source(each), Result(each.audio, error=error)) for each, error in failed], len(utterances))
        total = len(computed) * (2 + plan.most_trials)
        with tqdm(total=total, unit="utterance", disable=hidden, dynamic_ncols=True) as bar:

            def on_utterance(decoding: Decoding) -> None:
                bar.set_description_str(name(decoding), refresh=False)
                bar.update()

            def finish(each: Pass) -> None:
                on_pass(each)
                if hidden:
                    click.echo(progress(each), err=True)

            tuning = await tune(client, computed, plan, concurrency, on_utterance, on_pass=finish)
            # neighbours beyond a range, and those that were tried before, were not searched
            bar.total = bar.n
    return tuning


def _source(utterance: Utterance) -> Source:
    return Source(utterance.name, utterance.audio, PurePath(utterance.name))
