"""A start that fails says why in one line, and leaves nothing behind."""

import re
import socket
from collections.abc import Callable
from pathlib import Path

import pytest

from shrota_server import PortInUseError, RepositoryError, ServerError, StartError, TritonServer
from shrota_server.instance import SHARED_MEMORY, Instance
from shrota_testing.engines import write_tiny_engine
from shrota_testing.repository import make_repository


def fail_to_start(repository: Path) -> str:
    server = TritonServer(repository, models=["acoustic_onnx"])
    with pytest.raises(StartError) as caught, server:
        pass
    assert not server.log_path.parent.exists()
    assert not list(SHARED_MEMORY.glob(f"{server.log_path.parent.name}*"))
    return str(caught.value)


def truncated(engine: Path) -> None:
    engine.write_bytes(engine.read_bytes()[:5000])


def foreign(engine: Path) -> None:
    write_tiny_engine(engine, vocabulary_size=32)


@pytest.mark.triton
@pytest.mark.parametrize(
    ("spoil", "text"),
    [(truncated, "cannot be read as an ONNX graph"), (foreign, "does not fit config.pbtxt")],
)
def test_an_engine_that_cannot_be_served(tmp_path: Path, spoil: Callable[[Path], None], text: str) -> None:
    repository = make_repository(tmp_path / "model_repository")
    engine = repository / "acoustic_onnx" / "1" / "model.onnx"
    spoil(engine)
    line = fail_to_start(repository)
    assert line.startswith("model acoustic_onnx cannot be loaded: ")
    assert text in line
    assert str(engine) in line
    assert "run `shrota export onnx CHECKPOINT`" in line
    assert "\n" not in line


@pytest.mark.triton
def test_a_broken_configuration(tmp_path: Path) -> None:
    repository = make_repository(tmp_path / "model_repository")
    with (repository / "acoustic_onnx" / "config.pbtxt").open("a", encoding="utf-8") as file:
        file.write("\nnonsense: 3\n")
    assert 'has no field named "nonsense"' in fail_to_start(repository)


def test_a_port_in_use_is_found_before_anything_is_started(repository: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        server = TritonServer(repository, models=["acoustic_onnx"], http_port=port)
        with pytest.raises(PortInUseError, match=f"port {port} .* --http-port"), server:
            pass


def test_an_engine_that_was_not_exported(tmp_path: Path) -> None:
    repository = make_repository(tmp_path / "model_repository")
    engine = repository / "acoustic_onnx" / "1" / "model.onnx"
    engine.unlink()
    expected = re.escape(f"no engine at {engine}: run `shrota export onnx CHECKPOINT --repository {repository}`")
    with pytest.raises(RepositoryError, match=expected), TritonServer(repository, models=["asr", "acoustic_onnx"]):
        pass


def test_a_log_file_that_cannot_be_written_is_found_before_anything_is_started(
    repository: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    instance = Instance.create()
    monkeypatch.setattr(Instance, "create", lambda: instance)
    monkeypatch.setattr("shrota_server.server.Process", None)
    server = TritonServer(repository, models=["acoustic_onnx"], log_path=tmp_path / "none" / "x.log")
    with pytest.raises(ServerError, match=r"cannot write the log file .*x\.log"), server:
        pass
    assert not instance.folder.exists()
    assert not list(SHARED_MEMORY.glob(f"{instance.name}*"))


def test_no_repository(tmp_path: Path) -> None:
    with (
        pytest.raises(RepositoryError, match=r"no model repository at .*: give its folder with --repository"),
        TritonServer(tmp_path / "none", models=["asr"]),
    ):
        pass


def test_no_such_model(repository: Path) -> None:
    with (
        pytest.raises(RepositoryError, match=r"no model 'acoustic_vulkan' in .*: it has acoustic, acoustic_onnx"),
        TritonServer(repository, models=["acoustic_vulkan"]),
    ):
        pass
