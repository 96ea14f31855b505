"""gRPC encrypted by Triton itself, with the real client, and certificates that do not fit."""

import subprocess
import sys
from collections.abc import Iterator
from http.client import HTTPConnection
from pathlib import Path

import pytest
import soundfile

from shrota_client import Client, NoServerError, Tls
from shrota_server import AccessError, GrpcTls, TritonServer
from shrota_server.access import KEY_NAME
from shrota_testing.nginx import TLS
from shrota_testing.repository import make_repository
from shrota_testing.utterances import expected_text, noise

SHROTA = Path(sys.executable).with_name("shrota")
AUTHORITY = TLS / "authority.pem"
AUDIO = noise(1.0)
MODELS = ["asr", "acoustic_onnx"]


@pytest.fixture(scope="module")
def repository(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model repository with the tiny engine."""
    return make_repository(tmp_path_factory.mktemp("tls") / "model_repository")


@pytest.fixture(scope="module")
def encrypted(repository: Path) -> Iterator[TritonServer]:
    """A server that shows its certificate."""
    with TritonServer(repository, MODELS, grpc_tls=GrpcTls(TLS / "server.pem", TLS / "server.key")) as server:
        yield server


@pytest.fixture(scope="module")
def mutual(repository: Path) -> Iterator[TritonServer]:
    """A server that asks its callers for theirs, too."""
    files = GrpcTls(TLS / "server.pem", TLS / "server.key", AUTHORITY)
    with TritonServer(repository, MODELS, grpc_tls=files) as server:
        yield server


def transcribe(url: str, tls: Tls | None = None) -> str:
    with Client(url, tls=tls) as client:
        return client.transcribe(AUDIO).text


@pytest.mark.triton
def test_who_knows_the_authority_is_served(encrypted: TritonServer) -> None:
    assert transcribe(f"grpcs://{encrypted.grpc_url}", Tls(AUTHORITY)) == expected_text(AUDIO)


@pytest.mark.triton
def test_a_certificate_of_another_authority_is_refused_by_the_client(encrypted: TritonServer) -> None:
    with pytest.raises(NoServerError, match=r"the encrypted connection failed .*CERTIFICATE_VERIFY_FAILED"):
        transcribe(f"grpcs://{encrypted.grpc_url}", Tls(TLS / "other_authority.pem"))


@pytest.mark.triton
def test_plain_text_is_not_understood(encrypted: TritonServer) -> None:
    with pytest.raises(NoServerError):
        transcribe(encrypted.grpc_url)


@pytest.mark.triton
def test_with_mutual_tls_a_caller_with_a_certificate_is_served(mutual: TritonServer) -> None:
    tls = Tls(AUTHORITY, TLS / "client.pem", TLS / "client.key")
    assert transcribe(f"grpcs://{mutual.grpc_url}", tls) == expected_text(AUDIO)


@pytest.mark.triton
def test_with_mutual_tls_a_caller_without_is_refused(mutual: TritonServer) -> None:
    with pytest.raises(NoServerError):
        transcribe(f"grpcs://{mutual.grpc_url}", Tls(AUTHORITY))


@pytest.mark.triton
def test_with_mutual_tls_a_certificate_of_another_authority_is_refused(repository: Path) -> None:
    files = GrpcTls(TLS / "server.pem", TLS / "server.key", TLS / "other_authority.pem")
    tls = Tls(AUTHORITY, TLS / "client.pem", TLS / "client.key")
    with TritonServer(repository, MODELS, grpc_tls=files) as server, pytest.raises(NoServerError):
        transcribe(f"grpcs://{server.grpc_url}", tls)


@pytest.mark.triton
def test_the_commands_of_the_handbook(repository: Path, tmp_path: Path) -> None:
    key = tmp_path / "admin.key"
    key.write_text("0123456789abcdef\n", encoding="utf-8")
    audio = tmp_path / "audio.wav"
    soundfile.write(audio, AUDIO, 16000, subtype="FLOAT")
    serve: list[str | Path] = [
        *(SHROTA, "serve", "--repository", repository, "--http-port", "0", "--grpc-port", "0", "--metrics-port", "0"),
        *("--host", "0.0.0.0", "--http-host", "127.0.0.1", "--metrics-host", "127.0.0.1"),  # noqa: S104 - as it says
        *("--grpc-cert", TLS / "server.pem", "--grpc-key", TLS / "server.key", "--grpc-client-ca", AUTHORITY),
        *("--admin-key-file", key),
    ]
    with subprocess.Popen(serve, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True) as serving:
        try:
            assert serving.stdout is not None
            addresses = dict(serving.stdout.readline().split() for _ in range(3))
            trusting: list[str | Path] = ["--ca-cert", AUTHORITY]
            known = [*trusting, "--client-cert", TLS / "client.pem", "--client-key", TLS / "client.key"]
            transcribe: list[str | Path] = [SHROTA, "transcribe", audio, "--server", f"grpcs://{addresses['gRPC']}"]
            heard = subprocess.run([*transcribe, *known], capture_output=True, text=True, check=True)
            assert heard.stdout.strip() == expected_text(AUDIO)
            refused = subprocess.run([*transcribe, *trusting], capture_output=True, text=True, check=False)
            assert refused.returncode == 1
            assert index(addresses["HTTP"], {}) == 403
            assert index(addresses["HTTP"], {KEY_NAME: "0123456789abcdef"}) == 200
        finally:
            serving.terminate()


def index(http_url: str, headers: dict[str, str]) -> int:
    """The status that Triton answers to whoever asks for the list of models."""
    connection = HTTPConnection(http_url, timeout=30)
    try:
        connection.request("POST", "/v2/repository/index", headers=headers)
        return connection.getresponse().status
    finally:
        connection.close()


def test_files_that_do_not_fit_are_said_before_anything_is_started(tmp_path: Path) -> None:
    certificate, key = TLS / "server.pem", TLS / "server.key"
    with pytest.raises(AccessError, match="key values mismatch"):
        GrpcTls(certificate, TLS / "client.key")
    with pytest.raises(AccessError, match=r"cannot read .*none\.pem: No such file or directory"):
        GrpcTls(tmp_path / "none.pem", key)
    with pytest.raises(AccessError, match="cannot be encrypted with the certificate"):
        GrpcTls(key, key)
    empty = tmp_path / "empty.pem"
    empty.touch()
    with pytest.raises(AccessError, match=r"empty\.pem holds no certificate of an authority"):
        GrpcTls(certificate, key, empty)
