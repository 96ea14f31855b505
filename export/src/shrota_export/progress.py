"""Progress on standard error: each long step by its name and the time that it took."""

import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TypeVar

import click
from tqdm import tqdm

Item = TypeVar("Item")


@contextmanager
def step(name: str) -> Iterator[None]:
    """Announces a step where someone is watching and, once it is done, says how long it took."""
    watched = sys.stderr.isatty()
    if watched:
        click.echo(f"  {name} ...", err=True, nl=False)
    started = time.monotonic()
    try:
        yield
    except BaseException:
        click.echo(f"{_start_of_line(watched)}  {name}: failed", err=True)
        raise
    click.echo(f"{_start_of_line(watched)}  {name}: {time.monotonic() - started:.1f} s", err=True)


def each(items: Sequence[Item], name: str) -> Iterator[Item]:
    """The items, with a bar where someone is watching."""
    return iter(tqdm(items, desc=f"  {name}", leave=False, disable=None))


def _start_of_line(watched: bool) -> str:
    """Takes the announcement, or what a bar left of it, away."""
    return "\r\x1b[K" if watched else ""
