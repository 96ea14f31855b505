"""Finds or brings ``tritonserver``, starts it, keeps it healthy."""

from shrota_server.access import GrpcTls
from shrota_server.errors import (
    AccessError,
    InstallationError,
    PlanError,
    PortInUseError,
    RepositoryError,
    ServerError,
    StartError,
    StoppedError,
)
from shrota_server.server import TritonServer
from shrota_server.tracing import Tracing

__all__ = [
    "AccessError",
    "GrpcTls",
    "InstallationError",
    "PlanError",
    "PortInUseError",
    "RepositoryError",
    "ServerError",
    "StartError",
    "StoppedError",
    "Tracing",
    "TritonServer",
]
