"""The command ``shrota``: its subcommands come from the entry-point group ``shrota.commands``.

Each entry point is a :class:`click.Command`. Its module must import quickly: heavy libraries are imported inside the
command's function. A :class:`~shrota_client.errors.ShrotaError` that reaches the top becomes one line on standard
error and exit code 1.
"""

import errno
import io
import os
import sys
from importlib.metadata import EntryPoint, entry_points
from typing import NoReturn

import click

from shrota_client.errors import ShrotaError

GROUP = "shrota.commands"
NO_ROOM = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})
"""What the system says of a write for which there is no room."""


class Commands(click.Group):
    """A group whose commands are found by entry point and loaded when they are needed."""

    def _entry_points(self) -> dict[str, EntryPoint]:
        return {point.name: point for point in entry_points(group=GROUP)}

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002
        """Names of all installed subcommands, sorted."""
        return sorted(self._entry_points())

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:  # noqa: ARG002
        """The command of that name, or None."""
        point = self._entry_points().get(cmd_name)
        if point is None:
            return None
        command = point.load()
        if not isinstance(command, click.Command):
            raise ShrotaError(f"the entry point {point.value!r} of {GROUP} is no click command: reinstall the package")
        return command


@click.command(cls=Commands, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110})
@click.version_option(package_name="shrota-client", prog_name="shrota")
def shrota() -> None:
    """Shrota (श्रोता, "listener"): Hindi speech recognition on NVIDIA Triton."""


def main() -> None:
    """Entry point of the command line; every foreseen error is one line on standard error.

    What it prints is UTF-8 whatever the locale says: Hindi does not fit into ASCII or Latin-1.
    """
    # gRPC's own log would stand between the lines; what matters of it comes as an error
    os.environ.setdefault("GRPC_VERBOSITY", "NONE")
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(encoding="utf-8", errors="surrogateescape")
    try:
        shrota(prog_name="shrota")
    except ShrotaError as error:
        _fail(str(error))
    except OSError as error:
        # a full disk may also meet a help text, or the file of a command that has no words for it
        if error.errno not in NO_ROOM:
            raise
        where = error.filename or "the output"
        _fail(f"cannot write {where} ({error.strerror}): make room there, or choose another place")


def _fail(message: str) -> NoReturn:
    """One line on standard error, then exit code 1."""
    click.echo(f"shrota: error: {message}", err=True)
    _drop_unwritten()
    sys.exit(1)


def _drop_unwritten() -> None:
    """Gives up what standard output cannot take: the interpreter would try again at its end, with words of its own."""
    if sys.stdout is None:
        return
    try:
        sys.stdout.flush()
    except OSError:
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, sys.stdout.fileno())
        os.close(nowhere)
