"""Many recordings from a command: side by side, with a progress bar, in order."""

import asyncio
import contextlib
import sys
from collections.abc import Callable, Sequence

import click

from shrota_client.commands.options import Connection
from shrota_client.errors import ServerUnavailableError
from shrota_client.inputs import Source
from shrota_client.results import Result


def transcribe_sources(
    sources: Sequence[Source], connection: Connection, concurrency: int, take: Callable[[Source, Result], None]
) -> list[tuple[Source, Result]]:
    """Transcribes all sources and hands each result to ``take``, in order; returns those that failed.

    The progress bar is on standard error, and only where that is a terminal. Ctrl-C ends requests on their way at once.

    Raises:
        ServerUnavailableError: there is no server, before anything was transcribed: no other file would fare better.
        ShrotaError: the address or another setting cannot be used.
    """
    return asyncio.run(_transcribe(sources, connection, concurrency, take))


async def _transcribe(
    sources: Sequence[Source], connection: Connection, concurrency: int, take: Callable[[Source, Result], None]
) -> list[tuple[Source, Result]]:
    from tqdm import tqdm  # noqa: PLC0415 - only needed here

    failed: list[tuple[Source, Result]] = []
    done = 0
    hidden = not (len(sources) > 1 and sys.stderr.isatty())
    async with connection.client() as client:
        results = client.transcribe_many([source.audio for source in sources], concurrency=concurrency)
        with tqdm(total=len(sources), unit="file", disable=hidden, dynamic_ncols=True) as bar:
            async with contextlib.aclosing(results):
                remaining = iter(sources)
                async for result in results:
                    source = next(remaining)
                    if result.error is None:
                        done += 1
                    elif isinstance(result.error, ServerUnavailableError) and done == 0:
                        raise result.error
                    else:
                        failed.append((source, result))
                    # the bar steps aside while a result is printed
                    with tqdm.external_write_mode():
                        take(source, result)
                    bar.update()
    return failed


def report_failures(failed: Sequence[tuple[Source, Result]], total: int) -> None:
    """Says on standard error which files failed and why, one line each; ends with exit code 1 if any did."""
    if not failed:
        return
    if total == 1:
        click.echo(f"shrota: error: {failed[0][1].error}", err=True)
    else:
        click.echo(f"shrota: error: {len(failed)} of {total} files failed:", err=True)
        for source, result in failed:
            text = str(result.error)
            click.echo(f"  {text}" if source.name in text else f"  {source.name}: {text}", err=True)
    sys.exit(1)
