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
    # the image is read-only; these tests may run as root, whom no permission stops. Triton's stub does not heed
    # PYTHONDONTWRITEBYTECODE, so where Python would put its bytecode there is a file
    for folder in {path.parent for path in (root / "models").rglob("*.py")}:
        (folder / "__pycache__").touch()
    return root, environment


@pytest.fixture(scope="session")
def container(image: tuple[Path, dict[str, str]]) -> Iterator[Container]:
    """A server that is started as the image starts it; no test may harm it. Nothing of the image has changed since."""
    before = listing(image[0])
    with Container(*image) as running:
        yield running
    assert listing(image[0]) == before


def listing(folder: Path) -> dict[Path, float]:
    """All that is in a folder, and when each was changed."""
    return {path: path.stat().st_mtime for path in folder.rglob("*")}
