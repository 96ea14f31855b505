"""``shrota transcribe``: audio in, text out."""

from typing import Any

import click

from shrota_client.client import CONCURRENCY
from shrota_client.commands.options import connection, connection_options
from shrota_client.formats import NEED_TIMES, SUFFIXES


@click.command()
@click.argument("paths", nargs=-1, required=True, metavar="PATH...")
@connection_options
@click.option(
    "-f",
    "--format",
    "output_format",
    type=click.Choice(list(SUFFIXES)),
    default="text",
    show_default=True,
    help="text: the transcript (with several files: name, tab, transcript); json: one array; jsonl: an object a line; "
    "srt, vtt: subtitles.",
)
@click.option(
    "-o",
    "--output",
    metavar="FILE|FOLDER/",
    help="Where to write; into a folder, one file for each recording. Standard output if not given.",
)
@click.option(
    "-j",
    "--concurrency",
    type=click.IntRange(min=1),
    default=CONCURRENCY,
    show_default=True,
    help="Requests on their way at once.",
)
def transcribe(
    paths: tuple[str, ...], output_format: str, output: str | None, concurrency: int, **options: Any
) -> None:
    """Transcribe Hindi speech.

    PATH is an audio file (WAV, FLAC, Ogg, Opus, MP3, ...; any rate, any channels), a folder, a glob in quotes, a
    manifest (.jsonl, with {"audio": path} on each line), or - for standard input. The results keep the order of the
    files. A file that fails costs no other: it is reported at the end, and the exit code is 1.
    """
    from shrota_client.commands.batch import report_failures, transcribe_sources  # noqa: PLC0415
    from shrota_client.inputs import find_sources  # noqa: PLC0415
    from shrota_client.outputs import Output  # noqa: PLC0415

    settings = connection(**options)
    if output_format in NEED_TIMES:
        settings = settings.with_words(output_format)
    sources = find_sources(paths)
    with Output(output_format, output, sources) as target:
        failed = transcribe_sources(sources, settings, concurrency, target.write)
    report_failures(failed, len(sources))
