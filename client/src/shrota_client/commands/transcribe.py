"""``shrota transcribe``: audio files in, text out."""

import click


@click.command()
@click.argument("paths", nargs=-1, required=True)
@click.option("--server", envvar="SHROTA_SERVER", default="127.0.0.1:8001", show_default=True, help="Server address.")
def transcribe(paths: tuple[str, ...], server: str) -> None:
    """Transcribe audio files."""
    from shrota_client.client import Client  # noqa: PLC0415

    with Client(server) as client:
        for path in paths:
            click.echo(client.transcribe(path).text)
