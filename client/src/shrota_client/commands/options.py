"""Options of every command that calls a server."""

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any, TypeVar

import click

from shrota_client.client import DEFAULT_SERVER, AsyncClient
from shrota_client.commands.decoding import DECODING_OPTIONS, HOTWORD_OPTIONS, decoding
from shrota_client.decoding import Decoding, check_effects
from shrota_client.errors import ParameterError
from shrota_client.message import Parameter
from shrota_client.settings import Timeouts, Tls

Command = TypeVar("Command", bound=Callable[..., Any])


@dataclass(frozen=True)
class Connection:
    """How to reach the server, and the request parameters and decoder's settings of every call."""

    server: str
    tls: Tls
    timeouts: Timeouts
    parameters: dict[str, Parameter]
    decoding: Decoding

    def client(self) -> AsyncClient:
        """A client with these settings."""
        return AsyncClient(
            self.server, parameters=self.parameters, decoding=self.decoding, tls=self.tls, timeouts=self.timeouts
        )

    @property
    def all_parameters(self) -> dict[str, Parameter]:
        """The request parameters, those of the decoder among them."""
        return {**self.parameters, **self.decoding.parameters()}

    def with_words(self, output_format: str) -> "Connection":
        """The same, and the server is told to answer words with their times, however it is set up.

        Raises:
            ParameterError: it is told not to, and ``output_format`` needs them.
        """
        words = self.all_parameters.get("words")
        if words is None:
            return replace(self, decoding=self.decoding.updated(Decoding(words=True)))
        if str(words).strip().lower() in {"false", "0"}:
            raise ParameterError(
                f"{output_format} needs the times of words: leave out --no-words (words=false), "
                "or choose another format"
            )
        return self


SERVER_OPTIONS = (
    click.option(
        "--server",
        envvar="SHROTA_SERVER",
        default=DEFAULT_SERVER,
        show_default=True,
        show_envvar=True,
        help="HOST:PORT (gRPC), or grpcs://, http://, https:// with HOST:PORT.",
    ),
    click.option("--engine", metavar="MODEL", help="Engine to use, such as acoustic_onnx."),
    click.option(
        "-p",
        "--parameter",
        "pairs",
        metavar="NAME=VALUE",
        multiple=True,
        help="Request parameter that the server knows, such as engine=acoustic_onnx; may be repeated.",
    ),
)
WAITING_OPTIONS = (
    click.option(
        "--timeout",
        "timeout_s",
        type=float,
        default=Timeouts().request_s,
        show_default=True,
        metavar="SECONDS",
        help="How long to wait for one answer.",
    ),
    click.option("--ca-cert", metavar="FILE", help="Root certificates (PEM) for grpcs:// and https://."),
    click.option("--client-cert", metavar="FILE", help="The client's own certificate (PEM)."),
    click.option("--client-key", metavar="FILE", help="The private key of --client-cert (PEM)."),
)


def connection_options(command: Command) -> Command:
    """Adds the options; the command receives them by name and makes a connection with :func:`connection`."""
    return _add((*SERVER_OPTIONS, *DECODING_OPTIONS, *WAITING_OPTIONS), command)


def hotword_options(command: Command) -> Command:
    """As :func:`connection_options`, but of the decoder's options those of hotwords alone."""
    return _add((*SERVER_OPTIONS, *HOTWORD_OPTIONS, *WAITING_OPTIONS), command)


def _add(options: Sequence[Callable[[Command], Command]], command: Command) -> Command:
    """Adds options in the order of the help text."""
    for option in reversed(options):
        command = option(command)
    return command


def connection(
    *,
    server: str,
    engine: str | None,
    pairs: tuple[str, ...],
    timeout_s: float,
    ca_cert: str | None,
    client_cert: str | None,
    client_key: str | None,
    **decoder: Any,
) -> Connection:
    """The settings that the options make; ``decoder`` are those of the decoder.

    Raises:
        CertificateError, ParameterError: an option that cannot be used.
    """
    parameters = dict(parse_parameter(pair) for pair in pairs)
    if engine is not None:
        parameters["engine"] = engine
    tls, timeouts = Tls(ca_cert, client_cert, client_key), Timeouts(request_s=timeout_s)
    settings = Connection(server, tls, timeouts, parameters, decoding(**decoder))
    check_effects(settings.all_parameters)
    return settings


def parse_parameter(pair: str) -> tuple[str, Parameter]:
    """``NAME=VALUE``: a value that JSON reads as a number, true or false is one, everything else is a string.

    Raises:
        ParameterError: there is no ``=``, or nothing before it.
    """
    name, separator, text = pair.partition("=")
    if not name or not separator:
        raise ParameterError(f"the request parameter {pair!r} is not NAME=VALUE, such as engine=acoustic_onnx")
    try:
        value = json.loads(text)
    except ValueError:
        return name, text
    return name, value if isinstance(value, int | float) else text
