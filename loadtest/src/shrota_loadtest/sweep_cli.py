"""``shrota sweep``: perf_analyzer over concurrency, rate, batch and configuration."""

import click


@click.group()
def sweep() -> None:
    """What each setting gives, by NVIDIA's perf_analyzer."""
