"""Progress on standard error: each long step by its name and the time that it took."""

import time
from collections.abc import Iterator
from contextlib import contextmanager

import click


@contextmanager
def step(name: str) -> Iterator[None]:
    """Announces a step and, once it is done, says how long it took."""
    click.echo(f"  {name} ...", err=True, nl=False)
    started = time.monotonic()
    try:
        yield
    except BaseException:
        click.echo(" failed", err=True)
        raise
    click.echo(f" {time.monotonic() - started:.1f} s", err=True)
