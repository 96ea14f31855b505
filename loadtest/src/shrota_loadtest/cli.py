"""``shrota loadtest``: Locust against a server, and the page of what it carries."""

import click


@click.group()
def loadtest() -> None:
    """How much speech a server carries, by Locust."""
