"""A repository gets all the files of an export, or none."""

import errno
import fcntl
import os
from pathlib import Path
from typing import Any

import pytest
from google.protobuf import text_format
from tritonclient.grpc import model_config_pb2

import shrota_export.repository
from shrota_export.configuration import configurations_to_change
from shrota_export.errors import RepositoryError
from shrota_export.frontend import Frontend, receptive_field_and_stride
from shrota_export.repository import publication
from shrota_testing.files import snapshot

FILES = [Path("acoustic/1/frontend.json"), Path("acoustic_onnx/1/model.onnx"), Path("acoustic_onnx/1/manifest.json")]


def publish(repository: Path, content: str, *, remove: list[Path] | None = None) -> None:
    with publication(repository) as files:
        for name in FILES:
            files.path(name).write_text(content, encoding="utf-8")
        (files.scratch() / "raw.onnx").write_text("not to be published", encoding="utf-8")
        files.commit(FILES, remove=remove or [])


def test_all_files_arrive_and_nothing_else_is_left(repository: Path) -> None:
    before = snapshot(repository)
    publish(repository, "new")
    assert snapshot(repository) == {**before, **{str(name): b"new" for name in FILES}}
    assert not [path for path in repository.iterdir() if path.name.startswith(".")]


@pytest.mark.parametrize("first_export", [True, False], ids=["first export", "over an older one"])
@pytest.mark.parametrize("count", range(len(FILES)))
@pytest.mark.parametrize("failure", [OSError(errno.ENOSPC, "No space left on device"), KeyboardInterrupt()], ids=repr)
def test_an_interruption_between_two_files_changes_nothing(
    repository: Path,
    monkeypatch: pytest.MonkeyPatch,
    first_export: bool,
    count: int,
    failure: BaseException,
) -> None:
    if not first_export:
        publish(repository, "old")
    before = snapshot(repository)
    moved: list[Path] = []

    def move(source: Path, target: Path) -> None:
        if len(moved) == count:
            raise failure
        moved.append(source.replace(target))

    monkeypatch.setattr(shrota_export.repository, "_move", move)
    with pytest.raises((RepositoryError, KeyboardInterrupt)):
        publish(repository, "new")
    assert len(moved) == count
    assert snapshot(repository) == before


def fill_the_disk(repository: Path) -> None:
    with publication(repository) as files:
        files.path(FILES[0]).write_text("new", encoding="utf-8")
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def test_a_full_disk_is_one_line(repository: Path) -> None:
    before = snapshot(repository)
    with pytest.raises(RepositoryError, match="No space left on device; nothing was changed"):
        fill_the_disk(repository)
    assert snapshot(repository) == before


def test_the_mark_is_never_beside_files_that_it_does_not_describe(
    repository: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    publish(repository, "old")
    seen: list[bool] = []

    def move(source: Path, target: Path) -> None:
        seen.append((repository / FILES[-1]).exists())
        source.replace(target)

    monkeypatch.setattr(shrota_export.repository, "_move", move)
    publish(repository, "new")
    assert seen == [False, False, False]


def test_what_a_killed_export_left_is_cleared_away(repository: Path) -> None:
    leftover = repository / ".shrota-export-killed"
    leftover.mkdir()
    (leftover / "model.onnx").write_text("half", encoding="utf-8")
    publish(repository, "new")
    assert not leftover.exists()


def test_stale_files_go_with_the_export_that_replaces_them(repository: Path) -> None:
    stale = Path("acoustic_onnx/1/model.0123.onnx.data")
    (repository / stale).write_text("old weights", encoding="utf-8")
    publish(repository, "new", remove=[stale])
    assert not (repository / stale).exists()


def test_two_exports_at_a_time_are_one_too_many(repository: Path) -> None:
    lock = os.open(repository, os.O_RDONLY)
    fcntl.flock(lock, fcntl.LOCK_EX)
    try:
        with pytest.raises(RepositoryError, match="another export is writing"):
            publish(repository, "new")
    finally:
        os.close(lock)
    publish(repository, "new")


def test_a_folder_that_is_no_repository(tmp_path: Path) -> None:
    with pytest.raises(RepositoryError, match="copy the folder model_repository from the source"):
        publish(tmp_path, "new")


def read_config(text: str) -> Any:
    return text_format.Parse(text, model_config_pb2.ModelConfig())


def test_a_configuration_that_fits_keeps_its_comments(repository: Path) -> None:
    assert configurations_to_change(repository, 68) == {}


def test_another_vocabulary_size_is_the_only_thing_that_changes_in_every_engine(repository: Path) -> None:
    changed = configurations_to_change(repository, 32)
    assert sorted(str(path.parent) for path in changed) == [
        "acoustic_onnx",
        "acoustic_openvino",
        "acoustic_torch",
        "acoustic_trt",
    ]
    for path, text in changed.items():
        expected = read_config((repository / path).read_text(encoding="utf-8"))
        (output,) = [output for output in expected.output if output.name == "LOG_PROBS"]
        output.dims[-1] = 32
        assert read_config(text) == expected


def test_a_repository_without_further_engines(repository: Path) -> None:
    for engine in ("acoustic_trt", "acoustic_torch", "acoustic_openvino"):
        (repository / engine / "config.pbtxt").unlink()
    assert sorted(map(str, configurations_to_change(repository, 32))) == ["acoustic_onnx/config.pbtxt"]


@pytest.mark.parametrize("text", ['name: "acoustic_onnx" outputs {', 'name: "acoustic_onnx"'])
def test_a_configuration_that_is_none(repository: Path, text: str) -> None:
    (repository / "acoustic_onnx" / "config.pbtxt").write_text(text, encoding="utf-8")
    with pytest.raises(RepositoryError, match=r"acoustic_onnx/config\.pbtxt"):
        configurations_to_change(repository, 32)


@pytest.mark.parametrize(
    ("kernels", "strides", "expected"),
    [
        ((10, 3, 3, 3, 3, 2, 2), (5, 2, 2, 2, 2, 2, 2), (400, 320)),
        ((10, 3, 3, 3, 3, 2), (5, 2, 2, 2, 2, 2), (240, 160)),
        ((8,), (4,), (8, 4)),
    ],
)
def test_geometry_of_the_extractor(
    kernels: tuple[int, ...], strides: tuple[int, ...], expected: tuple[int, int]
) -> None:
    assert receptive_field_and_stride(kernels, strides) == expected


def test_frontend_as_the_acoustic_model_reads_it() -> None:
    content = {"sample_rate": 16000, "stride": 320, "receptive_field": 400, "normalize": True}
    assert Frontend(16000, 320, 400, normalize=True).as_json() == content
