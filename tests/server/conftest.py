"""One supervised server with the tiny engine for the whole folder."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from shrota_server import TritonServer
from shrota_testing.repository import make_repository


@pytest.fixture(scope="session")
def repository(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model repository with the tiny engine."""
    return make_repository(tmp_path_factory.mktemp("server") / "model_repository")


@pytest.fixture(scope="session")
def server(repository: Path) -> Iterator[TritonServer]:
    """A real Triton server that serves ``asr`` with the tiny engine."""
    with TritonServer(repository, models=["asr", "acoustic_onnx"], supervise=True) as running:
        yield running
