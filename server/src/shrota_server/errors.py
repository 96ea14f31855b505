"""What goes wrong when a server is started, each as one line with its remedy.

::

    ShrotaError
    └── ServerError
        ├── InstallationError                       the machine lacks something that Triton needs
        ├── RepositoryError   (FileNotFoundError)   the model repository, a model or its engine is missing
        ├── PlanError                               the TensorRT plan was built for another machine, or is missing
        ├── AccessError       (ValueError)          a file of TLS, or the key of administration, cannot be used
        ├── EngineError                             an engine is of another checkpoint, is missing, or lacks a package
        ├── PortInUseError    (OSError)             somebody else listens on a port that was asked for
        ├── StartError                              Triton ended, or was not ready in time
        └── StoppedError                            Triton ended by itself while it was serving
"""

from shrota_client.errors import ShrotaError


class ServerError(ShrotaError):
    """Base of what this package raises on purpose."""


class InstallationError(ServerError):
    """The machine lacks something that Triton needs."""


class RepositoryError(ServerError, FileNotFoundError):
    """The model repository, a model or its engine is missing."""


class PlanError(ServerError):
    """A TensorRT plan does not run on this machine, or is missing."""


class AccessError(ServerError, ValueError):
    """A file of TLS, or the key that opens administration, cannot be used."""


class EngineError(ServerError):
    """An engine was made of another checkpoint than what is served with it, is missing, or lacks a package."""


class PortInUseError(ServerError, OSError):
    """Somebody else listens on a port that was asked for."""

    def __init__(self, port: int, host: str, option: str) -> None:
        super().__init__(
            f"port {port} of {host} is in use: stop what listens there, "
            f"or give another with {option} (0 is any free one)"
        )


class StartError(ServerError):
    """Triton ended while it started, or was not ready in time."""


class StoppedError(ServerError):
    """Triton ended by itself while it was serving."""
