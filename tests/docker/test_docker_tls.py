"""TLS as the README has it: example certificates, the image's settings, our client. nginx: test_operations_nginx.py."""

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from shrota_client import Client, Tls
from shrota_client.errors import ShrotaError
from shrota_testing import tools
from shrota_testing.container import Container
from shrota_testing.repository import ROOT
from shrota_testing.utterances import expected_text, noise

pytestmark = [pytest.mark.triton, tools.needs("openssl")]
SCRIPT = ROOT / "docker/certs/example.sh"


@pytest.fixture(scope="module")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What the script makes."""
    folder = tmp_path_factory.mktemp("certificates")
    subprocess.run([SCRIPT, folder], check=True, capture_output=True)
    return folder


@pytest.fixture(scope="module")
def server(image: tuple[Path, dict[str, str]], certificates: Path) -> Iterator[Container]:
    """The image with mutual TLS on gRPC."""
    settings = {"CERT": "server.pem", "KEY": "server.key", "CLIENT_CA": "authority.pem"}
    added = {f"SHROTA_GRPC_{name}": str(certificates / "server" / file) for name, file in settings.items()}
    with Container(image[0], {**image[1], **added}) as running:
        yield running


def test_the_script_makes_what_nginx_and_triton_are_told_to_use(certificates: Path) -> None:
    def made(folder: Path) -> set[str]:
        return {path.name for path in folder.iterdir() if path.is_file()} - {"authority.srl"}

    assert made(certificates) == {f"{name}.{kind}" for name in ("authority", "client") for kind in ("pem", "key")}
    # what Compose mounts: neither the authority's key nor the client's
    for place in ("server", "nginx"):
        assert made(certificates / place) == {"server.pem", "server.key", "authority.pem"}
    assert os.access(SCRIPT, os.X_OK)
    configured = (ROOT / "docker/nginx/shrota.conf").read_text() + (ROOT / "docker/nginx/mutual.conf").read_text()
    for name in ("server.pem", "server.key", "authority.pem"):
        assert f"/etc/nginx/tls/{name};" in configured


def test_who_has_a_certificate_is_served(server: Container, certificates: Path) -> None:
    tls = Tls(
        root_certificates=certificates / "authority.pem",
        client_certificate=certificates / "client.pem",
        client_key=certificates / "client.key",
    )
    with Client(f"grpcs://localhost:{server.ports.grpc}", tls=tls) as client:
        assert client.transcribe(noise(1)).text == expected_text(noise(1))


@pytest.mark.parametrize("scheme", ["grpcs", "grpc"])
def test_who_has_none_is_not(server: Container, certificates: Path, scheme: str) -> None:
    tls = Tls(root_certificates=certificates / "authority.pem") if scheme == "grpcs" else None
    with (
        Client(f"{scheme}://localhost:{server.ports.grpc}", tls=tls) as client,
        pytest.raises(ShrotaError, match=r"the encrypted connection failed|something else listens there|no server"),
    ):
        client.transcribe(noise(1))


def test_keys_do_not_come_into_git() -> None:
    for name in (
        "authority.key",
        "client.key",
        "server/server.key",
        "server/admin.key",
        "server/google.json",
        "nginx/a",
    ):
        done = subprocess.run(["git", "check-ignore", "-q", f"docker/certs/{name}"], cwd=ROOT, check=False)
        assert done.returncode == 0, name
