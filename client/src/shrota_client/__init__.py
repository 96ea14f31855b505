"""Client of a Shrota speech recognition server: audio in, text out.

::

    from shrota_client import Client

    with Client("127.0.0.1:8001") as client:
        print(client.transcribe("speech.wav").text)
"""

from shrota_client.client import AsyncClient, Client
from shrota_client.decoding import Decoding, Hotword
from shrota_client.errors import (
    AddressError,
    AudioError,
    CertificateError,
    ManifestError,
    NoServerError,
    OutputError,
    ParameterError,
    QueueFullError,
    RequestError,
    RequestTimeoutError,
    ServerError,
    ServerUnavailableError,
    ShrotaError,
)
from shrota_client.log_probs import LogProbs
from shrota_client.results import Result
from shrota_client.settings import Retry, Timeouts, Tls
from shrota_client.transcript import Alternative, Transcript, Word

__all__ = [
    "AddressError",
    "Alternative",
    "AsyncClient",
    "AudioError",
    "CertificateError",
    "Client",
    "Decoding",
    "Hotword",
    "LogProbs",
    "ManifestError",
    "NoServerError",
    "OutputError",
    "ParameterError",
    "QueueFullError",
    "RequestError",
    "RequestTimeoutError",
    "Result",
    "Retry",
    "ServerError",
    "ServerUnavailableError",
    "ShrotaError",
    "Timeouts",
    "Tls",
    "Transcript",
    "Word",
]
