"""Settings of a client as small value objects: TLS files, time-outs, retries."""

import math
import random
from collections.abc import Callable
from dataclasses import dataclass, field
from os import PathLike
from pathlib import Path

from shrota_client.errors import CertificateError, ParameterError


@dataclass(frozen=True)
class Tls:
    """Files, in PEM format, of a connection by ``grpcs://`` or ``https://``.

    Attributes:
        root_certificates: authorities to trust, instead of the system's.
        client_certificate: the client's own certificate, where the server asks for one.
        client_key: the private key of ``client_certificate``.
    """

    root_certificates: str | PathLike[str] | None = None
    client_certificate: str | PathLike[str] | None = None
    client_key: str | PathLike[str] | None = None

    def __post_init__(self) -> None:
        if (self.client_certificate is None) != (self.client_key is None):
            raise CertificateError("a client certificate and its key belong together: give both or neither")
        for path in (self.root_certificates, self.client_certificate, self.client_key):
            if path is not None:
                read_pem(path)


def read_pem(path: str | PathLike[str]) -> bytes:
    """Content of a PEM file.

    Raises:
        CertificateError: the file cannot be read or is not PEM.
    """
    try:
        content = Path(path).read_bytes()
    except OSError as error:
        raise CertificateError(f"cannot read the TLS file {path}: {error.strerror}") from error
    if b"-----BEGIN " not in content:
        raise CertificateError(f"the TLS file {path} is not PEM: it has no '-----BEGIN' line")
    return content


@dataclass(frozen=True)
class Timeouts:
    """How long the client waits.

    Attributes:
        connect_s: seconds until the server must have accepted the connection.
        request_s: seconds from the first attempt until the answer, retries included; None waits for ever. It travels
            with the request, so that the server drops what nobody waits for any more.
    """

    connect_s: float = 5.0
    request_s: float | None = 300.0

    def __post_init__(self) -> None:
        for name, value in (("connect_s", self.connect_s), ("request_s", self.request_s)):
            if value is not None and not (value > 0 and math.isfinite(value)):
                raise ParameterError(f"the time-out {name} must be a positive number of seconds, not {value}")


@dataclass(frozen=True)
class Retry:
    """When a request that met a full queue is sent again; nothing else is ever sent twice.

    The wait before attempt ``n + 1`` is drawn evenly from zero to ``min(max_delay_s, first_delay_s * 2 ** (n - 1))``:
    exponential backoff with full jitter, so that clients that were refused together do not come back together.

    Attributes:
        attempts: how often a request is sent at most; 1 never retries.
        first_delay_s: longest wait before the second attempt, in seconds.
        max_delay_s: longest wait before any attempt, in seconds.
        draw: gives numbers in [0, 1); tests put a fixed one here.
    """

    attempts: int = 6
    first_delay_s: float = 0.2
    max_delay_s: float = 5.0
    draw: Callable[[], float] = field(default=random.random, repr=False, compare=False)

    def __post_init__(self) -> None:
        if self.attempts < 1 or self.first_delay_s < 0 or self.max_delay_s < 0:
            raise ParameterError("a retry needs at least one attempt, and waits of zero seconds or more")

    def delay_s(self, attempt: int) -> float:
        """Seconds to wait after the failed attempt number ``attempt`` (1, 2, ...)."""
        # the exponent is bounded: 2 ** 1100 would be no float any more
        longest = min(self.max_delay_s, self.first_delay_s * 2.0 ** min(attempt - 1, 60))
        return longest * self.draw()
