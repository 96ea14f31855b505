"""Traces of requests, by Triton's own OpenTelemetry (docs/user_guide/trace.md of Triton)."""

from dataclasses import dataclass
from urllib.parse import urlsplit

from shrota_server.errors import ServerError

SERVICE = "shrota"
PATH = "/v1/traces"


@dataclass(frozen=True)
class Tracing:
    """Where traces go, and of how many requests.

    Attributes:
        url: of a collector that takes OTLP over HTTP; without a path it is given that of OTLP, ``/v1/traces``.
        one_in: one request in so many is traced; 0: only those whose caller sends a trace context.

    Raises:
        ServerError: the URL is none of HTTP, or the number is negative.
    """

    url: str
    one_in: int = 100

    def __post_init__(self) -> None:
        parts = urlsplit(self.url)
        if parts.scheme not in {"http", "https"} or not parts.hostname:
            raise ServerError(f"--trace-url {self.url!r} is no address of a collector: give http://HOST:4318{PATH}")
        if self.one_in < 0:
            raise ServerError(f"--trace-one-in {self.one_in} is negative: give 0 or more")

    def options(self) -> list[str]:
        """Triton's flags."""
        url = self.url if urlsplit(self.url).path.strip("/") else self.url.rstrip("/") + PATH
        settings = [
            "mode=opentelemetry",
            f"opentelemetry,url={url}",
            f"opentelemetry,resource=service.name={SERVICE}",
            "level=TIMESTAMPS",
            f"rate={self.one_in}",
            "count=-1",
        ]
        return [word for setting in settings for word in ("--trace-config", setting)]
