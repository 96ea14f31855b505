"""Everything that Shrota raises on purpose.

::

    ShrotaError
    ├── AddressError           (ValueError)       a server address that is not one
    ├── AudioError             (ValueError)       audio that cannot be read or sent
    ├── CertificateError       (ValueError)       a TLS file that cannot be used
    ├── ConfigurationError     (ValueError)       a model's config.pbtxt that is missing or none
    ├── ManifestError          (ValueError)       a manifest or a line of it that is not one
    ├── MissingPackageError    (ImportError)      a package that a command needs is not installed
    ├── OutputError            (OSError)          a result that cannot be written where it should be
    ├── ParameterError         (ValueError)       a request parameter or a setting of the wrong type or value
    ├── RequestError                              the server refused the request; the caller can mend it
    ├── ServerError                               the server failed on a request that looks right
    ├── QueueFullError                            the server's queue is full; try again later
    ├── ServerUnavailableError (ConnectionError)  no server at the address, or it went away, or it cannot answer now
    │   └── NoServerError                         no connection to any server could be made
    └── RequestTimeoutError    (TimeoutError)     no answer within the time-out, or within that of the server's queue
"""


class ShrotaError(Exception):
    """Base of every error that Shrota raises on purpose; its text is one line that says what to do."""


class AddressError(ShrotaError, ValueError):
    """A server address that is not one."""


class AudioError(ShrotaError, ValueError):
    """Audio that cannot be read or sent."""


class CertificateError(ShrotaError, ValueError):
    """A TLS file that cannot be used."""


class ConfigurationError(ShrotaError, ValueError):
    """A model's ``config.pbtxt`` that is missing or none."""


class ManifestError(ShrotaError, ValueError):
    """A manifest, or a line of it, that is not one."""


class MissingPackageError(ShrotaError, ImportError):
    """A package that a command needs is not installed."""


class OutputError(ShrotaError, OSError):
    """A result that cannot be written where it should be."""


class ParameterError(ShrotaError, ValueError):
    """A request parameter or a setting of the wrong type or value."""


class RequestError(ShrotaError):
    """The server refused the request; the caller can mend it."""


class ServerError(ShrotaError):
    """The server failed on a request that looks right."""


class QueueFullError(ShrotaError):
    """The server's queue is full; the request can be sent again later."""


class ServerUnavailableError(ShrotaError, ConnectionError):
    """No server at the address, or it went away, or it cannot answer now."""


class NoServerError(ServerUnavailableError):
    """No connection could be made: nothing at the address, or nothing that speaks the protocol."""


class RequestTimeoutError(ShrotaError, TimeoutError):
    """No answer within the time-out, or the request waited longer than the server's queue allows."""
