"""What the two HTTP transports share: where to, the headers, the reading of an answer."""

import json
import re
import ssl

from shrota_client.address import Address
from shrota_client.answer import MALFORMED, Outputs, parse_http_answer
from shrota_client.errors import CertificateError, ServerError
from shrota_client.exchange import Send
from shrota_client.failures import HTTP_STATUS, Failure
from shrota_client.settings import Tls

OK = 200
HEADER_LENGTH = "Inference-Header-Content-Length"


def infer_path(step: Send, address: Address) -> str:
    """Path of the URL that takes the request."""
    return f"{address.path}/v2/models/{step.request.model}/infer"


def headers(step: Send, header: bytes) -> dict[str, str]:
    """Headers of the POST whose body is ``header`` and the tensors."""
    return {
        "Content-Type": "application/octet-stream",
        "Content-Length": str(len(header) + sum(body.nbytes for body in step.request.bodies)),
        HEADER_LENGTH: str(len(header)),
    }


def read_answer(status: int, header_length: str | None, body: bytes) -> Outputs | Failure:
    """The tensors of the answer, or what went wrong.

    Raises:
        ServerError: an answer that is not one of Triton.
    """
    if status == OK:
        return parse_http_answer(body, None if header_length is None else _length(header_length))
    try:
        message = str(json.loads(body)["error"])
    except MALFORMED:
        message = body[:500].decode("utf-8", "replace") or f"HTTP status {status} without a message"
    return Failure(HTTP_STATUS.get(status, f"HTTP {status}"), message)


def _length(text: str) -> int:
    """The number of bytes that the header says."""
    if not re.fullmatch("[0-9]{1,18}", text):
        raise ServerError(f"the answer's {HEADER_LENGTH} is {text!r}, no number: this address is no Triton server")
    return int(text)


def ssl_context(tls: Tls) -> ssl.SSLContext:
    """A context that verifies the server's certificate and name.

    Raises:
        CertificateError: a file of ``tls`` holds no usable certificate or key.
    """
    try:
        context = ssl.create_default_context(cafile=tls.root_certificates)
        if tls.client_certificate is not None:
            context.load_cert_chain(tls.client_certificate, tls.client_key)
    except ssl.SSLError as error:
        files = ", ".join(str(path) for path in vars(tls).values() if path is not None)
        raise CertificateError(f"cannot use the TLS files {files}: {error.reason or error}") from error
    return context
