"""``shrota score``: word and character error rate of a server, or of transcripts made before."""

import json
from pathlib import Path
from typing import Any

import click

from shrota_client.client import CONCURRENCY
from shrota_client.commands.options import connection, connection_options
from shrota_client.writing import STANDARD_OUTPUT, writing


@click.command()
@click.argument("manifest", type=click.Path(path_type=Path))
@click.option(
    "--hypotheses",
    type=click.Path(path_type=Path),
    help="Transcripts made before (JSON lines with audio and text), instead of a server.",
)
@connection_options
@click.option(
    "-j",
    "--concurrency",
    type=click.IntRange(min=1),
    help=f"Requests on their way at once; {CONCURRENCY}, or 1 with --details, so that its real-time factors are those "
    "of one request alone.",
)
@click.option(
    "--details", is_flag=True, help="Also show transcript, reference, error rates and speed of every utterance."
)
@click.option(
    "--worst", "worst_count", type=click.IntRange(min=0), default=5, show_default=True, help="How many to show."
)
@click.option("--seed", type=int, default=0, show_default=True, help="Seed of the bootstrap.")
@click.option("--json", "as_json", is_flag=True, help="One JSON object instead of text.")
@click.pass_context
def score(  # noqa: PLR0917 - click passes options by name
    ctx: click.Context,
    /,
    manifest: Path,
    hypotheses: Path | None,
    concurrency: int | None,
    details: bool,
    worst_count: int,
    seed: int,
    as_json: bool,
    **options: Any,
) -> None:
    """Word and character error rate against a manifest.

    MANIFEST has a line {"audio": path, "text": reference} for each utterance. Both texts are normalised first (Unicode
    composition and nukta, joiners, danda and other punctuation; see the client's README). Without --hypotheses the
    audio is transcribed by the server.
    """
    from shrota_client import report  # noqa: PLC0415
    from shrota_client.commands.batch import report_failures  # noqa: PLC0415
    from shrota_client.commands.scoring import score_server  # noqa: PLC0415
    from shrota_client.hypotheses import score_hypotheses  # noqa: PLC0415
    from shrota_client.manifest import read_manifest  # noqa: PLC0415
    from shrota_client.score import Score, UtteranceScore  # noqa: PLC0415

    if hypotheses is not None:
        for option in ctx.command.params:
            name = option.name or ""
            if name in options and ctx.get_parameter_source(name) is click.core.ParameterSource.COMMANDLINE:
                spelled = "/".join([option.opts[-1], *option.secondary_opts])
                raise click.UsageError(f"--hypotheses and {spelled} exclude each other")
    utterances = read_manifest(manifest, need_text=True)
    scores: list[UtteranceScore] = []

    def add(utterance: UtteranceScore) -> None:
        scores.append(utterance)
        if details and not as_json:
            _print(report.details(utterance) + "\n")

    if hypotheses is None:
        settings = connection(**options)
        failed, wall_s = score_server(utterances, settings, concurrency or (1 if details else CONCURRENCY), add)
    else:
        failed, wall_s = [], None
        for utterance in score_hypotheses(utterances, hypotheses):
            add(utterance)

    total = Score(tuple(scores), seed)
    if as_json:
        failures = [{"audio": source.name, "error": str(each.error)} for source, each in failed]
        _print(json.dumps({**total.as_dict(), "wall_s": wall_s, "failed": failures}, ensure_ascii=False, indent=2))
    elif scores:
        _print("\n".join([report.summary(total, wall_s), *report.worst(total, worst_count)]))
    report_failures(failed, len(utterances))


def _print(text: str) -> None:
    with writing(STANDARD_OUTPUT):
        click.echo(text)
