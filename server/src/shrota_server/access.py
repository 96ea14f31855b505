"""Who may call what: TLS on gRPC, and the key that opens administration. Both are Triton's own.

The flags are described in Triton's "Inference Protocols and APIs" (docs/customization_guide/inference_protocols.md).
"""

import re
import secrets
import ssl
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path

from shrota_server.errors import AccessError

CLOSED = ("model-repository", "shared-memory", "logging", "trace")
"""What callers of a speech server have no use for. Whoever can load a model can run code; the others read and write
what belongs to somebody else."""
KEY_NAME = "shrota-admin-key"
GRPC_PREFIX = "triton-grpc-protocol-"
"""What Triton puts before the key's name over gRPC."""
# Triton takes the flag apart at colons, commas and equal signs
_KEY = re.compile(r"[A-Za-z0-9_-]{16,256}")


@dataclass(frozen=True)
class GrpcTls:
    """Files, in PEM format, with which gRPC is served encrypted.

    Attributes:
        certificate: the server's certificate, and those between it and its authority.
        key: the private key of ``certificate``, without a passphrase.
        client_authorities: only callers with a certificate of one of these are served (mutual TLS); None: all are.

    Raises:
        AccessError: a file is missing, is not PEM, or does not fit the other.
    """

    certificate: Path
    key: Path
    client_authorities: Path | None = None

    def __post_init__(self) -> None:
        for path in (self.certificate, self.key, self.client_authorities):
            if path is not None:
                _read(path)
        # Triton would say no more of a bad file than that its port is in use
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        try:
            context.load_cert_chain(self.certificate, self.key, password=lambda: "")
        except (ssl.SSLError, ValueError) as error:
            raise AccessError(
                f"gRPC cannot be encrypted with the certificate {self.certificate} and the key {self.key} "
                f"({_reason(error)}): give a certificate and its own key, without a passphrase, both as PEM"
            ) from error
        if self.client_authorities is not None:
            try:
                context.load_verify_locations(self.client_authorities)
            except ssl.SSLError as error:
                raise AccessError(
                    f"{self.client_authorities} holds no certificate of an authority ({_reason(error)}): "
                    "give PEM with --grpc-client-ca"
                ) from error

    def options(self) -> list[str]:
        """Triton's flags."""
        how = "--grpc-use-ssl" if self.client_authorities is None else "--grpc-use-ssl-mutual"
        options = [f"{how}=true", f"--grpc-server-cert={self.certificate}", f"--grpc-server-key={self.key}"]
        if self.client_authorities is not None:
            options.append(f"--grpc-root-cert={self.client_authorities}")
        return options


def new_key() -> str:
    """A key that nobody knows."""
    return secrets.token_urlsafe(32)


def read_key(path: Path) -> str:
    """The key in a file, without the white space around it.

    Raises:
        AccessError: the file cannot be read, or what is in it is no key.
    """
    return check_key(_read(path).decode("utf-8", errors="replace").strip(), f"of {path} ")


def check_key(key: str, whose: str = "") -> str:
    """The key itself, if it can be one.

    Raises:
        AccessError: it is too short, or has characters that Triton's flag cannot hold.
    """
    if not _KEY.fullmatch(key):
        raise AccessError(
            f"the key {whose}that opens administration must be 16 to 256 letters, digits, '-' and '_': "
            "make one with `openssl rand -hex 32`"
        )
    return key


def restrictions(key: str, open_to_all: Collection[str] = ()) -> list[str]:
    """Triton's flags that close administration to whoever does not send the key, over HTTP and gRPC.

    Raises:
        AccessError: ``open_to_all`` names what is not closed anyway.
    """
    unknown = sorted(set(open_to_all) - set(CLOSED))
    if unknown:
        raise AccessError(f"{', '.join(unknown)} cannot be opened: give one of {', '.join(CLOSED)}")
    closed = [name for name in CLOSED if name not in open_to_all]
    if not closed:
        return []
    rule = f"{','.join(closed)}:{KEY_NAME}={key}"
    return [f"--http-restricted-api={rule}", f"--grpc-restricted-protocol={rule}"]


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise AccessError(f"cannot read {path}: {error.strerror}") from error


def _reason(error: Exception) -> str:
    return str(getattr(error, "reason", None) or error).lower().replace("_", " ")
