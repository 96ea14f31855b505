"""The machine that a page was measured on, as far as the load generator sees it."""

from typing import Any

from shrota_client.gpu import find_gpu
from shrota_client.pages.host import describe_host

LIBRARIES = ("shrota-loadtest", "locust", "gevent", "tritonclient", "grpcio", "numpy")


def host() -> dict[str, Any]:
    """This machine, now, with its GPU if it has one, and the versions that matter here."""
    gpu = find_gpu()
    return {**describe_host(LIBRARIES), "gpu": None if gpu is None else f"{gpu.name}, driver {gpu.driver}"}
