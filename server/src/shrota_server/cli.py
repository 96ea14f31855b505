"""``shrota serve``: a Triton server for a Shrota model repository."""

import signal
from pathlib import Path

import click


@click.command()
@click.option("--repository", type=click.Path(path_type=Path), default="model_repository", show_default=True)
@click.option("--http-port", default=8000, show_default=True, help="Port of HTTP; 0 for a free one.")
@click.option("--grpc-port", default=8001, show_default=True, help="Port of gRPC; 0 for a free one.")
@click.option("--metrics-port", default=8002, show_default=True, help="Port of the metrics; 0 for a free one.")
@click.option("--host", default="127.0.0.1", show_default=True, help="Address to listen on.")
def serve(repository: Path, http_port: int, grpc_port: int, metrics_port: int, host: str) -> None:
    """Serve a model repository with Triton."""
    from shrota_server.server import TritonServer

    models = ["asr", "acoustic_onnx"]
    with TritonServer(repository, models, http_port, grpc_port, metrics_port, host, show_level="warning") as server:
        click.echo(f"gRPC {server.grpc_url}  HTTP {server.http_url}  metrics {server.metrics_url}/metrics")
        signal.sigwait({signal.SIGINT, signal.SIGTERM})
