"""What can go wrong between a request and its log-probabilities.

::

    AcousticError
    ├── SettingsError (ValueError)   the model cannot be loaded; text says what to change
    └── RequestError                 one request is refused; carries the code for Triton
        ├── InvalidRequestError      INVALID_ARG: the caller can mend it
        ├── CancelledError           CANCELLED: the caller went away
        ├── UnavailableError         UNAVAILABLE: passes by itself, or with a deadline that is longer
        └── EngineError              INTERNAL: the engine refused this batch
"""

from typing import ClassVar


class AcousticError(Exception):
    """Base of every error that the acoustic model raises on purpose; its text is one line."""


class SettingsError(AcousticError, ValueError):
    """The model's parameters or ``frontend.json`` cannot be used."""


class RequestError(AcousticError):
    """One request gets this instead of log-probabilities."""

    code: ClassVar[str] = "INTERNAL"
    """Name of the constant of ``pb_utils.TritonError`` that the caller sees."""


class InvalidRequestError(RequestError):
    """The caller can mend it."""

    code = "INVALID_ARG"


class CancelledError(RequestError):
    """Nobody waits for the answer any more."""

    code = "CANCELLED"


class UnavailableError(RequestError):
    """The server cannot answer now."""

    code = "UNAVAILABLE"


class EngineError(RequestError):
    """The engine failed at a batch; other requests of that batch may still succeed alone."""
