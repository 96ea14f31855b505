"""The server image's files with the tiny engine, as if it had been exported before the build; and a server of them."""

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from shrota_testing.container import Container, assemble_server_image
from shrota_testing.repository import make_repository


@pytest.fixture(scope="session")
def image(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, str]]:
    """The root of the image, and its environment."""
    root = tmp_path_factory.mktemp("image")
    environment = assemble_server_image(root)
    exported = make_repository(tmp_path_factory.mktemp("exported") / "models")
    # only what an export adds: a file of the repository that the build lacks must be missed
    for relative in ("acoustic_onnx/1/model.onnx", "acoustic/1/frontend.json", "ctc_decoder/1/vocab.json"):
        shutil.copyfile(exported / relative, root / "models" / relative)
    return root, environment


@pytest.fixture(scope="session")
def container(image: tuple[Path, dict[str, str]]) -> Iterator[Container]:
    """A server that is started as the image starts it; no test may harm it."""
    with Container(*image) as running:
        yield running
