"""nginx with docker/nginx/shrota.conf, in front of a server of the test's own."""

import os
import socket
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from shrota_testing import tools
from shrota_testing.repository import ROOT
from shrota_testing.triton import wait_until

FOLDER = ROOT / "docker" / "nginx"
TLS = ROOT / "tests" / "client" / "tls"
needs_nginx = tools.needs("nginx")
# what an image's own nginx.conf has around it
FRAME = """\
{user}
daemon off;
pid {folder}/pid;
error_log {folder}/error.log;
events {{}}
http {{
    access_log off;
    client_body_temp_path {folder}/body;
    proxy_temp_path {folder}/proxy;
    fastcgi_temp_path {folder}/fastcgi;
    uwsgi_temp_path {folder}/uwsgi;
    scgi_temp_path {folder}/scgi;
    include {folder}/shrota.conf;
}}
"""


def free_port() -> int:
    """A port that nobody listens on."""
    with socket.create_server(("127.0.0.1", 0)) as probe:
        return int(probe.getsockname()[1])


def adapted(text: str, changes: dict[str, str]) -> str:
    """The configuration with addresses and paths of the test's own; each must be there to be changed."""
    for old, new in changes.items():
        assert old in text, old
        text = text.replace(old, new)
    return text


@contextmanager
def nginx(
    folder: Path,
    http_url: str,
    grpc_url: str,
    *,
    mutual: bool = False,
    body: str = "128m",
    connections: int = 64,
    all_connections: int = 256,
) -> Iterator[str]:
    """A running nginx before a server; gives its host and port.

    Args:
        folder: an empty one, for its files.
        http_url: what it passes HTTP on to, without scheme.
        grpc_url: likewise gRPC.
        mutual: asks callers for a certificate.
        body: the largest body, instead of the configuration's.
        connections: requests at a time from one address, likewise.
        all_connections: requests at a time from all addresses, likewise.
    """
    port = free_port()
    changes = {
        "server server:8000;": f"server {http_url};",
        "server server:8001;": f"server {grpc_url};",
        "listen 8443": f"listen 127.0.0.1:{port}",
        "/etc/nginx/tls": str(TLS),
        "/etc/nginx/shrota.d": str(folder / "shrota.d"),
        "client_max_body_size 128m;": f"client_max_body_size {body};",
        "limit_conn shrota_callers 64;": f"limit_conn shrota_callers {connections};",
        "limit_conn shrota_everybody 256;": f"limit_conn shrota_everybody {all_connections};",
    }
    (folder / "shrota.d").mkdir()
    (folder / "shrota.conf").write_text(adapted((FOLDER / "shrota.conf").read_text(), changes))
    if mutual:
        text = adapted((FOLDER / "mutual.conf").read_text(), {"/etc/nginx/tls/authority.pem": f"{TLS}/authority.pem"})
        (folder / "shrota.d" / "mutual.conf").write_text(text)
    (folder / "nginx.conf").write_text(FRAME.format(folder=folder, user="user root;" if os.getuid() == 0 else ""))
    command = ["nginx", "-p", str(folder), "-c", str(folder / "nginx.conf"), "-e", str(folder / "error.log")]
    checked = subprocess.run([*command, "-t"], capture_output=True, text=True, check=False)
    assert checked.returncode == 0, checked.stderr
    with subprocess.Popen(command) as process:
        try:
            assert wait_until(lambda: _listens(port), 10), (folder / "error.log").read_text()
            yield f"127.0.0.1:{port}"
        finally:
            process.terminate()


def _listens(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0
