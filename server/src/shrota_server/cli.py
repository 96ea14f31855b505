"""``shrota serve``: a Triton server for a Shrota model repository, until it is told to stop."""

import contextlib
import logging
import signal
from collections.abc import Sequence
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from shrota_server.access import GrpcTls
    from shrota_server.server import TritonServer

LEVELS = ["error", "warning", "info", "debug"]
LOOK_S = 0.2
ENSEMBLE = "asr"
FILE = click.Path(path_type=Path, dir_okay=False)


class Interrupted(BaseException):
    """A signal asked us to stop; no error, and nothing that catches errors may catch it."""


@click.command()
@click.option(
    "--repository",
    type=click.Path(path_type=Path, file_okay=False),
    default="model_repository",
    show_default=True,
    help="The model repository; it may be read-only.",
)
@click.option("--http-port", default=8000, show_default=True, help="Port of HTTP; 0 for any free one.")
@click.option("--grpc-port", default=8001, show_default=True, help="Port of gRPC; 0 for any free one.")
@click.option("--metrics-port", default=8002, show_default=True, help="Port of the metrics; 0 for any free one.")
@click.option("--host", default="127.0.0.1", show_default=True, help="Address to listen on; 0.0.0.0 for all.")
@click.option("--http-host", help="Address that HTTP listens on, where that is another: it is not encrypted.")
@click.option("--metrics-host", help="Address that the metrics listen on, where that is another.")
@click.option("--grpc-cert", type=FILE, help="Encrypt gRPC: the server's certificate (PEM).")
@click.option("--grpc-key", type=FILE, help="Private key of --grpc-cert (PEM, no passphrase).")
@click.option("--grpc-client-ca", type=FILE, help="Serve only callers with a certificate of these authorities (PEM).")
@click.option(
    "--admin-key-file",
    type=FILE,
    envvar="SHROTA_ADMIN_KEY_FILE",
    help="File with the key that opens model control, shared memory, logging and tracing; closed to all without it.",
)
@click.option(
    "--open",
    "open_to_all",
    multiple=True,
    metavar="NAME",
    help="Leave one of these open without the key: model-repository, shared-memory, logging, trace.",
)
@click.option("--trace-url", help="Send traces of requests to this collector (OTLP over HTTP).")
@click.option(
    "--trace-one-in",
    type=click.IntRange(min=0),
    default=100,
    show_default=True,
    help="Trace one request in so many; 0: only those whose caller sends a trace context.",
)
@click.option(
    "--engine",
    "engines",
    multiple=True,
    default=["acoustic_onnx"],
    show_default=True,
    help="Engine to load beside asr; may be given several times. The first runs what names none.",
)
@click.option(
    "--fallback",
    is_flag=True,
    help="Serve acoustic_onnx instead of acoustic_trt where its plan does not run on this machine.",
)
@click.option("--model", "models", multiple=True, help="Load these models instead of asr and the engines.")
@click.option(
    "--ready-timeout",
    type=click.FloatRange(min=0, min_open=True),
    default=600.0,
    show_default=True,
    help="Seconds that loading may take.",
)
@click.option(
    "--drain",
    "drain_s",
    type=click.FloatRange(min=0),
    default=30.0,
    show_default=True,
    metavar="SECONDS",
    help="At the end, new requests to asr are refused, and those under way have so long to finish.",
)
@click.option(
    "--log-level", type=click.Choice(LEVELS), default="warning", show_default=True, help="What of Triton's log to show."
)
@click.option("--log-file", type=click.Path(path_type=Path, dir_okay=False), help="Also write Triton's whole log here.")
def serve(
    *,
    repository: Path,
    http_port: int,
    grpc_port: int,
    metrics_port: int,
    host: str,
    http_host: str | None,
    metrics_host: str | None,
    grpc_cert: Path | None,
    grpc_key: Path | None,
    grpc_client_ca: Path | None,
    admin_key_file: Path | None,
    open_to_all: tuple[str, ...],
    trace_url: str | None,
    trace_one_in: int,
    engines: tuple[str, ...],
    fallback: bool,
    models: tuple[str, ...],
    ready_timeout: float,
    drain_s: float,
    log_level: str,
    log_file: Path | None,
) -> None:
    """Serves a model repository with Triton until Ctrl-C or SIGTERM.

    Uses the tritonserver on the PATH (NVIDIA's container), else the one that nvidia-pytriton brings. A Python model
    whose process dies is brought back. At the end requests in flight are finished; a second Ctrl-C does not wait for
    them.
    """
    from shrota_server.access import read_key  # noqa: PLC0415 - `shrota --help` stays quick
    from shrota_server.server import NO_LOG, TritonServer  # noqa: PLC0415
    from shrota_server.tracing import Tracing  # noqa: PLC0415

    logging.basicConfig(format="shrota: %(message)s", level=logging.WARNING)
    usable = _usable(engines, repository, fallback=fallback)
    names = list(models) or [ENSEMBLE, *usable]
    server = TritonServer(
        repository,
        names,
        http_port=http_port,
        grpc_port=grpc_port,
        metrics_port=metrics_port,
        host=host,
        ready_timeout_s=ready_timeout,
        log_path=log_file or NO_LOG,
        show_level=log_level,
        supervise=True,
        default_engine=None if models else usable[0],
        http_host=http_host,
        metrics_host=metrics_host,
        grpc_tls=_grpc_tls(grpc_cert, grpc_key, grpc_client_ca),
        admin_key=None if admin_key_file is None else read_key(admin_key_file),
        open_to_all=open_to_all,
        tracing=None if trace_url is None else Tracing(trace_url, trace_one_in),
    )
    _handle_signals(server)
    try:
        click.echo(f"loading {', '.join(names)} from {repository} ...", err=True)
        with server:
            click.echo(f"gRPC     {server.grpc_url}")
            click.echo(f"HTTP     {server.http_url}")
            click.echo(f"metrics  http://{server.metrics_url}/metrics")
            click.echo("ready; Ctrl-C stops it", err=True)
            try:
                while not server.wait(LOOK_S):
                    pass
            except Interrupted:
                if drain_s and ENSEMBLE in names:
                    server.drain(ENSEMBLE, drain_s)
                raise
    except Interrupted:
        _say("stopped")


def _grpc_tls(certificate: Path | None, key: Path | None, client_authorities: Path | None) -> "GrpcTls | None":
    from shrota_server.access import GrpcTls  # noqa: PLC0415
    from shrota_server.errors import AccessError  # noqa: PLC0415

    if certificate is not None and key is not None:
        return GrpcTls(certificate, key, client_authorities)
    if certificate is not None or key is not None or client_authorities is not None:
        raise AccessError("gRPC is encrypted with --grpc-cert and --grpc-key: give both, or none of the two and no CA")
    return None


def _usable(engines: Sequence[str], repository: Path, *, fallback: bool) -> list[str]:
    """The engines to load, each once: a plan that does not run here is an error, or replaced."""
    from shrota_server.errors import PlanError  # noqa: PLC0415
    from shrota_server.openvino_engine import ENGINE as OPENVINO_ENGINE  # noqa: PLC0415
    from shrota_server.openvino_engine import check_openvino_engine  # noqa: PLC0415
    from shrota_server.plan import ENGINE, SPARE_ENGINE, check_plan  # noqa: PLC0415
    from shrota_server.torch_engine import ENGINE as TORCH_ENGINE  # noqa: PLC0415
    from shrota_server.torch_engine import check_torch_engine  # noqa: PLC0415

    if TORCH_ENGINE in engines and repository.is_dir():
        check_torch_engine(repository)
    if OPENVINO_ENGINE in engines and repository.is_dir():
        check_openvino_engine(repository)
    if ENGINE in engines and repository.is_dir():
        try:
            check_plan(repository)
        except PlanError as error:
            if not fallback:
                raise PlanError(f"{error}; or start with --fallback to serve {SPARE_ENGINE} instead") from error
            _say(f"serving {SPARE_ENGINE} instead of {ENGINE}: {error}")
            engines = [SPARE_ENGINE if engine == ENGINE else engine for engine in engines]
    return list(dict.fromkeys(engines))


def _handle_signals(server: "TritonServer") -> None:
    """The first signal raises Interrupted; those after it end Triton at once.

    What whoever started us has told us to ignore stays ignored: SIGHUP under ``nohup``, SIGINT in the background of
    a script.
    """
    interrupted = False

    def handle(number: int, frame: FrameType | None) -> None:
        del frame
        nonlocal interrupted
        if interrupted:
            server.kill()
            return
        interrupted = True
        _say(f"{signal.Signals(number).name}: stopping ...")
        raise Interrupted

    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        if signal.getsignal(number) is not signal.SIG_IGN:
            signal.signal(number, handle)


def _say(text: str) -> None:
    with contextlib.suppress(OSError):  # the terminal may be what is gone
        click.echo(text, err=True)
