"""The address of a server: ``127.0.0.1:8001``, ``grpcs://speech.example:443``, ``http://localhost:8000``."""

from dataclasses import dataclass
from typing import Self
from urllib.parse import urlsplit

from shrota_client.errors import AddressError

DEFAULT_PORTS = {"grpc": 8001, "grpcs": 8001, "http": 8000, "https": 8000}


@dataclass(frozen=True)
class Address:
    """Where a server listens, and how it is spoken to.

    Attributes:
        scheme: ``grpc``, ``grpcs``, ``http`` or ``https``; the ones with an s are encrypted.
        host: name or IP address; IPv6 without brackets.
        port: TCP port.
        path: what comes before ``/v2`` over HTTP behind a reverse proxy; empty or starting with a slash.
    """

    scheme: str
    host: str
    port: int
    path: str = ""

    @classmethod
    def parse(cls, text: str) -> Self:
        """Reads ``[scheme://]host[:port][/path]``; without a scheme it is gRPC, without a port Triton's own.

        Raises:
            AddressError: the text is no address.
        """
        example = "write it like 127.0.0.1:8001, grpcs://host:8001 or http://host:8000"
        parts = urlsplit(text if "://" in text else f"grpc://{text}")
        if parts.scheme not in DEFAULT_PORTS:
            raise AddressError(f"the server address {text!r} has the unknown scheme {parts.scheme!r}: {example}")
        try:
            port = parts.port
        except ValueError as error:
            raise AddressError(f"the server address {text!r} has no usable port: {example}") from error
        path = parts.path.rstrip("/")
        wrong = not parts.hostname or port == 0 or parts.query or parts.fragment or parts.username
        if wrong or (path and parts.scheme.startswith("grpc")) or any(letter.isspace() for letter in text):
            raise AddressError(f"the server address {text!r} is not one: {example}")
        return cls(parts.scheme, str(parts.hostname), port or DEFAULT_PORTS[parts.scheme], path)

    @property
    def encrypted(self) -> bool:
        """Whether the connection uses TLS."""
        return self.scheme.endswith("s")

    @property
    def is_grpc(self) -> bool:
        """Whether the server is spoken to by gRPC."""
        return self.scheme.startswith("grpc")

    @property
    def target(self) -> str:
        """``host:port``, with brackets around an IPv6 address."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{host}:{self.port}"

    def __str__(self) -> str:
        return f"{self.scheme}://{self.target}{self.path}"
