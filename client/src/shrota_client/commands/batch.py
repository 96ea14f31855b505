"""Many recordings from a command: side by side, with a progress bar, in order."""

import asyncio
import contextlib
import sys
from collections.abc import Callable, Sequence

import click

from shrota_client.commands.options import Connection
from shrota_client.errors import (
    NoServerError,
    QueueFullError,
    RequestError,
    RequestTimeoutError,
    ServerError,
    ServerUnavailableError,
    ShrotaError,
)
from shrota_client.inputs import Source
from shrota_client.results import Result

_OF_A_SERVER = (RequestError, ServerError, QueueFullError, RequestTimeoutError, ServerUnavailableError)


def transcribe_sources(
    sources: Sequence[Source], connection: Connection, concurrency: int, take: Callable[[Source, Result], None]
) -> list[tuple[Source, Result]]:
    """Transcribes all sources and hands each result to ``take``, in order; returns those that failed.

    The progress bar is on standard error, and only where that is a terminal. Ctrl-C ends requests on their way at once.

    Raises:
        NoServerError: there is no server, and none has answered before: no other file would fare better. Files that
            failed before, without a server, have been reported.
        ShrotaError: the address or another setting cannot be used.
    """
    return asyncio.run(_transcribe(sources, connection, concurrency, take))


async def _transcribe(
    sources: Sequence[Source], connection: Connection, concurrency: int, take: Callable[[Source, Result], None]
) -> list[tuple[Source, Result]]:
    from tqdm import tqdm  # noqa: PLC0415 - only needed here

    failed: list[tuple[Source, Result]] = []
    reached = False
    hidden = not (len(sources) > 1 and sys.stderr.isatty())
    async with connection.client() as client:
        results = client.transcribe_many([source.audio for source in sources], concurrency=concurrency)
        with tqdm(total=len(sources), unit="file", disable=hidden, dynamic_ncols=True) as bar:
            async with contextlib.aclosing(results):
                remaining = iter(sources)
                async for result in results:
                    source = next(remaining)
                    if isinstance(result.error, NoServerError) and not reached:
                        bar.close()
                        _list_failures(failed, len(sources))
                        raise result.error
                    reached = reached or _has_answered(result.error)
                    if result.error is not None:
                        failed.append((source, result))
                    # the bar steps aside while a result is printed
                    with tqdm.external_write_mode():
                        take(source, result)
                    bar.update()
    return failed


def _has_answered(error: ShrotaError | None) -> bool:
    """Whether a result with this error, or none, shows that there is a server."""
    return error is None or (isinstance(error, _OF_A_SERVER) and not isinstance(error, NoServerError))


def report_failures(failed: Sequence[tuple[Source, Result]], total: int) -> None:
    """Says on standard error which files failed and why; ends with exit code 1 if any did.

    Each has a line, unless all failed and for the same reason, a wrong parameter for instance.
    """
    _list_failures(failed, total)
    if failed:
        sys.exit(1)


def _list_failures(failed: Sequence[tuple[Source, Result]], total: int) -> None:
    if not failed:
        return
    if total == 1:
        click.echo(f"shrota: error: {failed[0][1].error}", err=True)
    elif len(failed) == total and len({str(result.error) for _, result in failed}) == 1:
        click.echo(f"shrota: error: all {total} files failed: {failed[0][1].error}", err=True)
    else:
        click.echo(f"shrota: error: {len(failed)} of {total} files failed:", err=True)
        for source, result in failed:
            text = str(result.error)
            click.echo(f"  {text}" if source.name in text else f"  {source.name}: {text}", err=True)
