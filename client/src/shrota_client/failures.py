"""What a failed request means: Triton's status and message become one of Shrota's errors.

Triton uses UNAVAILABLE for a full queue, for a request whose time in the queue is over and for a model that is not
loaded, and so does Shrota's acoustic model for its engine; gRPC itself uses it where no connection can be made. Only
the messages tell them apart.
"""

import re
from dataclasses import dataclass

from shrota_client.address import Address
from shrota_client.errors import (
    NoServerError,
    QueueFullError,
    RequestError,
    RequestTimeoutError,
    ServerError,
    ServerUnavailableError,
    ShrotaError,
)

HTTP_STATUS = {
    400: "INVALID_ARGUMENT",
    404: "NOT_FOUND",
    409: "ALREADY_EXISTS",
    413: "RESOURCE_EXHAUSTED",
    499: "CANCELLED",
    500: "INTERNAL",
    501: "UNIMPLEMENTED",
    502: "UNAVAILABLE",
    503: "UNAVAILABLE",
    504: "DEADLINE_EXCEEDED",
}
"""gRPC's name for what Triton, or a proxy before it, answers over HTTP."""

NO_CONNECTION = "NO_CONNECTION"
"""Status of our own for a transport that never reached a server."""

QUEUE_FULL = re.compile(r"maximum queue size|queue of engine \S+ is full")
"""What Triton says of a queue, and the acoustic model of that of its engine."""
TOO_MUCH = "more work than can be done in time"
"""What the acoustic model says of a request that could not be answered within its time-out."""
TIMED_OUT = re.compile(r"timeout expired|request's time-out passed")
"""What Triton says of a request in a queue, and the acoustic model of one that waits in it."""
UNKNOWN_MODEL = "unknown model"
STUB_DIED = "is not healthy"
"""What Triton says, as INTERNAL, once the process of a Python model has ended."""
_NOT_CONNECTED = ("failed to connect", "all backends failing", "errors resolving", "lookup failed")
_NOBODY = (
    "refused",
    "connect call failed",
    "resolv",
    "lookup",
    "name or service",
    "timed out",
    "timeout",
    "unreachable",
)
_WRONG_PROTOCOL = ("http2", "http/2", "http1", "bad status line", "badstatusline", "wrong_version_number")
_PREFIX = re.compile(r"^(\[request id: [^\]]*\] |in ensemble '[^']*', )+")
"""What Triton puts before the message of a model; it tells a caller nothing."""


@dataclass(frozen=True)
class Failure:
    """A request that failed: ``status`` is a gRPC status by name or :data:`NO_CONNECTION`."""

    status: str
    message: str


def error_of(
    failure: Failure, address: Address, request_s: float | None = None, elapsed_s: float | None = None
) -> ShrotaError:
    """The error to raise.

    Args:
        failure: what the transport met.
        address: of the server.
        request_s: the time-out that the caller set, in seconds; None where none is set.
        elapsed_s: seconds from the first attempt until the failure; they tell the caller's time-out from the server's.
    """
    status, message = failure.status, one_line(_PREFIX.sub("", failure.message))
    folded = message.lower()
    refused = status == "UNAVAILABLE" and any(text in folded for text in _NOT_CONNECTED + _WRONG_PROTOCOL)
    if status == NO_CONNECTION or refused:
        return _no_server(address, message)
    if status == "DEADLINE_EXCEEDED" or (status == "UNAVAILABLE" and TIMED_OUT.search(folded)):
        return _timed_out(status, address, request_s, elapsed_s)
    busy = _too_busy(status, folded, address)
    if busy is not None:
        return busy
    if status in {"INVALID_ARGUMENT", "RESOURCE_EXHAUSTED", "OUT_OF_RANGE", "FAILED_PRECONDITION"}:
        return RequestError(message)
    remedy = _remedy(status, folded)
    if remedy is None:
        return ServerError(f"the server at {address} failed ({status}: {message}): its log says more")
    return ServerUnavailableError(f"the server at {address} {remedy} ({status}: {message})")


def _too_busy(status: str, folded: str, address: Address) -> QueueFullError | None:
    """The error of a server that has too much to do; None where it is another one."""
    if status == "UNAVAILABLE" and QUEUE_FULL.search(folded):
        return QueueFullError(f"the queue of {address} is full: send fewer requests at once, or try again later")
    if status == "UNAVAILABLE" and TOO_MUCH in folded:
        remedy = "send fewer requests at once, allow more time, or try again later"
        return QueueFullError(f"{address} has more work than it can do in the request's time-out: {remedy}")
    return None


def _remedy(status: str, folded: str) -> str | None:
    """What to do about a server that is there and cannot answer; None where it simply failed."""
    if UNKNOWN_MODEL in folded or "no available versions" in folded:
        return "is not serving the model: load it there"
    if STUB_DIED in folded:
        return "has lost the process of a model, which `shrota serve` loads again: try again in some seconds"
    if status in {"UNIMPLEMENTED", "NOT_FOUND", "UNAUTHENTICATED", "PERMISSION_DENIED"}:
        return "does not offer this: check that the address is the one of a Shrota server"
    if status == "UNAVAILABLE":
        return "went away or cannot answer now: look at its log, then try again"
    return None


def _timed_out(status: str, address: Address, request_s: float | None, elapsed_s: float | None) -> RequestTimeoutError:
    # a request's time-out can only shorten that of a queue: more of it would not help against the server's own.
    # Clocks and timers differ a little.
    in_time = request_s is None or (elapsed_s is not None and elapsed_s < 0.99 * request_s - 0.05)
    if not in_time:
        remedy = "allow more time (--timeout), or send fewer requests at once"
        return RequestTimeoutError(f"no answer from {address} within {request_s:g} s: {remedy}")
    remedy = "send fewer requests at once, or try again later"
    if status == "UNAVAILABLE":
        return RequestTimeoutError(f"the request waited too long in the queue of {address}: {remedy}")
    return RequestTimeoutError(f"{address}, or a proxy before it, gave up waiting for the answer: {remedy}")


def _no_server(address: Address, message: str) -> NoServerError:
    hint = "start one with `shrota serve`, or give another address (--server, SHROTA_SERVER)"
    folded = message.lower()
    if not any(text in folded for text in _NOBODY):
        if address.encrypted:
            hint = (
                f"the encrypted connection failed ({message}): check the port, --ca-cert and the server's certificate"
            )
        elif "socket closed" in folded or any(text in folded for text in _WRONG_PROTOCOL):
            hint = "something else listens there; by default gRPC is HOST:8001 and HTTP is http://HOST:8000"
    return NoServerError(f"no server at {address.target}: {hint}")


def one_line(text: str, limit: int = 500) -> str:
    """The text without line breaks and repeated spaces, cut after ``limit`` characters."""
    flat = re.sub(r"\s+", " ", text).strip()
    return flat if len(flat) <= limit else flat[: limit - 1] + "…"
