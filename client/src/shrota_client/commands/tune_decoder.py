"""``shrota tune-decoder``: the decoder's weights that make the fewest errors on a development set."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import click

from shrota_client.client import CONCURRENCY
from shrota_client.commands.options import Connection, connection, hotword_options
from shrota_client.decoding import Decoding
from shrota_client.errors import ParameterError, ShrotaError
from shrota_client.tuning_plan import METRICS, Plan, Range, Space
from shrota_client.writing import STANDARD_OUTPUT, writing

DEFAULTS = Plan()
INSTEAD = {
    "beam_width": "give --beam-width",
    "lm_weight": "give its range with --lm-weight",
    "word_score": "give its range with --word-score",
    "hotwords": "give --hotword or --hotwords-file",
    "hotword_weight": "give --hotword-weight",
    "n_best": "leave it out, only the best reading is scored",
    "words": "leave it out, only the text is scored",
}
"""What to do about the decoder's own parameters, which tuning sets itself."""


@click.command("tune-decoder")
@click.argument("manifest", type=click.Path(path_type=Path))
@click.option(
    "--lm-weight",
    "lm_weights",
    metavar="RANGE",
    default=str(DEFAULTS.space.lm_weights),
    show_default=True,
    help="How much the language model counts: LOW:HIGH:STEP, or one number.",
)
@click.option(
    "--word-score",
    "word_scores",
    metavar="RANGE",
    default=str(DEFAULTS.space.word_scores),
    show_default=True,
    help="What each word adds to a transcript's score: LOW:HIGH:STEP, or one number.",
)
@click.option(
    "--refine",
    "refinements",
    type=click.IntRange(0, 6),
    default=DEFAULTS.refinements,
    show_default=True,
    help="How often both steps are halved, and the neighbours of the best pair tried.",
)
@click.option(
    "--metric",
    type=click.Choice(METRICS),
    default=DEFAULTS.metric,
    show_default=True,
    help="What to make small: the word or the character error rate.",
)
@click.option(
    "--beam-width",
    type=int,
    metavar="COUNT",
    default=DEFAULTS.beam_width,
    show_default=True,
    help="Transcripts that the search keeps at every frame. Other widths have other best weights: tune with the one "
    "that you will use.",
)
@hotword_options
@click.option(
    "-j",
    "--concurrency",
    type=click.IntRange(min=1),
    default=CONCURRENCY,
    show_default=True,
    help="Requests on their way at once.",
)
@click.option("--json", "as_json", is_flag=True, help="One JSON object instead of text.")
def tune_decoder(  # noqa: PLR0917 - click passes options by name
    manifest: Path,
    lm_weights: str,
    word_scores: str,
    refinements: int,
    metric: str,
    beam_width: int,
    concurrency: int,
    as_json: bool,
    **options: Any,
) -> None:
    """Find lm_weight and word_score on a development set.

    MANIFEST has a line {"audio": path, "text": reference} for each utterance. The server's acoustic model runs once
    over all of them; then its decoder searches the same log-probabilities with each pair of weights: first a coarse
    grid of both ranges, then ever finer ones around the best pair. The server needs a language model, and keeps working
    for others, more slowly.

    Tune on speech that is in neither the training nor the test set, an hour of it rather than minutes.
    """
    from shrota_client import tuning_report  # noqa: PLC0415
    from shrota_client.commands.tuning import tune_server  # noqa: PLC0415
    from shrota_client.manifest import read_manifest  # noqa: PLC0415
    from shrota_client.tuning import Pass, check_references  # noqa: PLC0415

    space = Space(Range.parse(lm_weights, "--lm-weight"), Range.parse(word_scores, "--word-score"))
    settings = connection(**options)
    check_parameters(settings)
    favoured = settings.decoding
    plan = Plan(space, refinements, metric, beam_width, favoured.hotwords, favoured.hotword_weight)
    # greedy decoding, which is measured as well, refuses hotwords: only the plan has them
    settings = replace(settings, decoding=Decoding())
    utterances = read_manifest(manifest, need_text=True)
    check_references(utterances, manifest)
    measured: list[Pass] = []
    try:
        tuning = tune_server(utterances, settings, plan, concurrency, measured.append)
    except (ShrotaError, KeyboardInterrupt):
        if measured:
            # JSON that is cut short helps nobody: standard output has the whole of it or nothing
            with writing(STANDARD_OUTPUT):
                click.echo(tuning_report.partial_table(measured), err=as_json)
        raise
    with writing(STANDARD_OUTPUT):
        if as_json:
            click.echo(json.dumps(tuning_report.as_dict(tuning), ensure_ascii=False, indent=2))
        else:
            click.echo(f"{tuning_report.table(tuning)}\n\n{tuning_report.conclusion(tuning)}")


def check_parameters(settings: Connection) -> None:
    """Refuses request parameters that belong to the decoder, and names the option that is meant for each.

    Raises:
        ParameterError: there is one.
    """
    for name, remedy in INSTEAD.items():
        if name in settings.parameters:
            raise ParameterError(f"tune-decoder sets the parameter {name} itself: {remedy}")
