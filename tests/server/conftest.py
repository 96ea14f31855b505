"""Two supervised servers for the whole folder: one with the tiny engine, one whose engine takes its time."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from shrota_server import TritonServer
from shrota_testing.repository import make_repository, set_instances


def with_one_decoder(repository: Path) -> Path:
    """With one process for the decoder, so that a test knows which one has a request."""
    set_instances(repository / "ctc_decoder" / "config.pbtxt", 1)
    return repository


@pytest.fixture(scope="session")
def repository(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model repository with the tiny engine."""
    made = make_repository(tmp_path_factory.mktemp("server") / "model_repository")
    return with_one_decoder(made)


@pytest.fixture(scope="session")
def server(repository: Path) -> Iterator[TritonServer]:
    """A real Triton server that serves ``asr`` with the tiny engine."""
    with TritonServer(repository, models=["asr", "acoustic_onnx"], supervise=True) as running:
        yield running


@pytest.fixture(scope="session")
def slow_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TritonServer]:
    """A server whose engine takes seconds for minutes of audio."""
    repository = with_one_decoder(make_repository(tmp_path_factory.mktemp("slow") / "model_repository", ballast=16384))
    with TritonServer(repository, models=["asr", "acoustic_onnx"], supervise=True) as running:
        yield running
