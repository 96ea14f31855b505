"""Finds or brings ``tritonserver``, starts it, keeps it healthy."""

from shrota_server.errors import (
    InstallationError,
    PlanError,
    PortInUseError,
    RepositoryError,
    ServerError,
    StartError,
    StoppedError,
)
from shrota_server.server import TritonServer

__all__ = [
    "InstallationError",
    "PlanError",
    "PortInUseError",
    "RepositoryError",
    "ServerError",
    "StartError",
    "StoppedError",
    "TritonServer",
]
