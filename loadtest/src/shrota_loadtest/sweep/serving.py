"""Servers of a sweep: one that runs somewhere, or one of its own."""

import json
import urllib.request
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from shrota_loadtest.errors import LoadTestError
from shrota_loadtest.metrics import TIMEOUT_S
from shrota_loadtest.sweep.measure import Addresses

READY_S = 600.0


@contextmanager
def serving(repository: Path, models: Sequence[str]) -> Iterator[Addresses]:
    """A server as ``shrota serve`` starts it, on free ports, stopped at the end.

    Args:
        repository: what it serves.
        models: ``asr``, and engines, the first of which runs what names none.

    Raises:
        LoadTestError: the package that starts servers is not installed.
        ShrotaError: the server does not start; its text is one line.
    """
    try:
        from shrota_server import TritonServer  # noqa: PLC0415 - another part, which need not be installed
    except ImportError as error:
        raise LoadTestError(
            "no server can be started here: `pip install ./server`, or name a running one (--grpc, --http, --metrics)"
        ) from error
    engine = models[1] if len(models) > 1 else None
    server = TritonServer(
        repository,
        models,
        supervise=True,
        ready_timeout_s=READY_S,
        default_engine=engine,
        open_to_all=["shared-memory"],
    )
    with server:
        yield Addresses(server.grpc_url, server.http_url, server.metrics_url)


def version_of(http_url: str) -> str | None:
    """Name and version of a server; None where it does not say."""
    try:
        with urllib.request.urlopen(f"http://{http_url}/v2", timeout=TIMEOUT_S) as answer:
            content = json.load(answer)
        return f"{content['name']} {content['version']}"
    except (OSError, LookupError, TypeError, ValueError):
        return None
