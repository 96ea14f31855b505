"""The machine that a page was measured on, as far as the load generator sees it."""

from typing import Any

from shrota_client.pages.host import describe_host

LIBRARIES = ("shrota-loadtest", "locust", "gevent", "tritonclient", "grpcio", "numpy")


def host() -> dict[str, Any]:
    """This machine, now, with the versions that matter here."""
    return describe_host(LIBRARIES)
