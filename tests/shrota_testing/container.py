"""A server as its image starts it, without a container: the image's files, its command, the embedded tritonserver."""

import itertools
import random
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Self

from shrota_server.control import Control
from shrota_server.installation import find_installation
from shrota_server.instance import Instance
from shrota_server.ports import FREE_RANGE, Ports, is_free
from shrota_server.process import Process
from shrota_testing.dockerfile import Dockerfile, assemble
from shrota_testing.repository import ROOT
from shrota_testing.triton import wait_until

SERVER = ROOT / "docker" / "server" / "Dockerfile"
MODELS = ("asr", "acoustic_onnx")


def assemble_server_image(image: Path) -> dict[str, str]:
    """Lays out what the final stage of the server's Dockerfile copies; the environment that it sets.

    Raises:
        AssertionError: the build would not find something.
    """
    dockerfile = Dockerfile.read(SERVER)
    missing = assemble(dockerfile, dockerfile.final, ROOT, image)
    assert not missing, missing
    return dockerfile.final.environment


def free_ports(*hosts: str) -> Ports:
    """Three ports that nobody listens on at any of these addresses."""
    drawn = (port for port in random.sample(FREE_RANGE, 200) if all(is_free(host, port) for host in hosts))
    return Ports(*itertools.islice(drawn, 3))


class Container:
    """Runs ``serve.py`` of an assembled image on free ports; on exit nothing of it stays.

    Args:
        image: what :func:`assemble_server_image` laid out.
        environment: what the image and whoever runs it set; ``PATH`` is not taken from there.
        arguments: further flags of Triton's.
        python: the environment whose packages the models use, as the image has one; None: that of the tests.
        host: address to listen on.
        ports: to listen on; None for free ones.
    """

    def __init__(
        self,
        image: Path,
        environment: Mapping[str, str],
        arguments: Sequence[str] = (),
        *,
        python: Path | None = None,
        host: str = "127.0.0.1",
        ports: Ports | None = None,
    ) -> None:
        self.image = image
        self.host = host
        self.ports = ports if ports is not None else free_ports(host)
        self._environment = {name: value for name, value in environment.items() if name != "PATH"}
        self._python = python
        self._arguments = arguments
        self._process: Process | None = None

    @property
    def process(self) -> Process:
        """Its tritonserver."""
        assert self._process is not None
        return self._process

    @property
    def control(self) -> Control:
        """What Triton says of its health."""
        return Control(self.host, self.ports.http)

    @property
    def grpc_url(self) -> str:
        """Address of gRPC."""
        return f"{self.host}:{self.ports.grpc}"

    @property
    def http_url(self) -> str:
        """Address of HTTP."""
        return f"{self.host}:{self.ports.http}"

    def start(self) -> None:
        """Starts it, without waiting."""
        instance = Instance.create()
        found = find_installation(instance.folder)
        path = f"{found.executable.parent}:{found.environment['PATH']}"
        if self._python is not None:
            path = f"{self._python / 'bin'}:{path}"
        environment = {
            **found.environment,
            **self._environment,
            "PATH": path,
            "SHROTA_REPOSITORY": str(self.image / "models"),
            "SHROTA_HTTP_HOST": self.host,
            "SHROTA_GRPC_HOST": self.host,
        }
        command = [
            sys.executable,
            str(self.image / "opt/shrota/serve.py"),
            f"--backend-directory={found.backend_directory}",
            f"--backend-config=python,shm-region-prefix-name={instance.region_prefix}",
            f"--http-port={self.ports.http}",
            f"--grpc-port={self.ports.grpc}",
            f"--metrics-port={self.ports.metrics}",
            f"--metrics-address={self.host}",
            *self._arguments,
        ]
        self._process = Process(command, environment, instance)

    def __enter__(self) -> Self:
        """Starts it and waits until it is ready."""
        self.start()
        wait_until(lambda: self.control.is_ready([*MODELS]) or not self.process.is_running(), 60)
        if not self.process.is_running() or not self.control.is_ready([*MODELS]):
            self.process.stop()
            raise AssertionError("\n".join(self.process.log.lines))
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Ends it."""
        self.process.stop()
