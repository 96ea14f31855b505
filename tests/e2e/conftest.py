"""One server with the tiny engine for the whole folder."""

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from shrota_server import TritonServer
from shrota_testing.repository import ROOT, copy_repository, make_repository
from shrota_testing.utterances import Neighbours


@pytest.fixture(scope="session")
def repository(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model repository with the tiny engine."""
    return make_repository(tmp_path_factory.mktemp("e2e") / "model_repository")


@pytest.fixture(scope="session")
def server(repository: Path) -> Iterator[TritonServer]:
    """A real Triton server that serves ``asr`` with the tiny engine."""
    with TritonServer(repository, models=["asr", "acoustic_onnx"]) as running:
        yield running


@pytest.fixture(scope="session")
def neighbours() -> Neighbours:
    """Good requests."""
    return Neighbours()


@pytest.fixture(scope="session")
def small_repository(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A repository with the bundled checkpoint."""
    folder = copy_repository(tmp_path_factory.mktemp("demo") / "model_repository")
    subprocess.run(
        [
            Path(sys.executable).with_name("shrota"),
            "export",
            "onnx",
            ROOT / "models/hindi-small",
            "--repository",
            folder,
        ],
        check=True,
        cwd=ROOT,
    )
    return folder
