"""What the export image runs: the steps, that nothing is done twice, and plans that are kept and fetched."""

import hashlib
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import soundfile

from shrota_export.cli import export
from shrota_export.configuration import read_configuration
from shrota_testing import scripts
from shrota_testing.checkpoints import make_audio, write_checkpoint
from shrota_testing.dockerfile import Dockerfile, assemble
from shrota_testing.repository import ROOT, copy_repository

PREPARE: Any = scripts.load(scripts.PREPARE)
GPU = "NVIDIA_L4-8.9-tensorrt-1.2.3"


class Shrota:
    """Notes what is run, and leaves what the real commands leave."""

    def __init__(self, repository: Path) -> None:
        self.repository = repository
        self.commands: list[list[str]] = []
        self.plan = b"a plan"
        self.comparison: dict[str, Any] = {"was_run": True}

    def __call__(self, arguments: list[str]) -> None:
        """Runs one command."""
        self.commands.append(arguments)
        if arguments[1] == "onnx":
            self.write("acoustic_onnx/1/model.onnx", b"a graph")
        elif arguments[1] == "precision":
            content = {"precision": {"precision": arguments[arguments.index("--to") + 1]}}
            self.write("acoustic_onnx/1/manifest.json", json.dumps(content).encode())
        elif arguments[1] == "tensorrt" and not (self.repository / "acoustic_trt/1/model.plan").is_file():
            self.write("acoustic_trt/1/model.plan", self.plan)
            described = {"plan": {"sha256": hashlib.sha256(self.plan).hexdigest()}, "comparison": self.comparison}
            self.write("acoustic_trt/1/plan.json", json.dumps(described).encode())

    def write(self, name: str, content: bytes) -> None:
        """A file of the repository."""
        (self.repository / name).write_bytes(content)

    @property
    def verbs(self) -> list[str]:
        """What was done."""
        return [arguments[1] for arguments in self.commands]


@pytest.fixture
def environment(tmp_path: Path) -> dict[str, str]:
    """Of an image with the source's repository."""
    copy_repository(tmp_path / "home/model_repository")
    (tmp_path / "models").mkdir()
    return {"SHROTA_HOME": str(tmp_path / "home"), "SHROTA_REPOSITORY": str(tmp_path / "models")}


def run(environment: dict[str, str], key: str | None = None) -> Shrota:
    """Prepares, with commands that are only noted."""
    settings = PREPARE.Settings.read(environment)
    shrota = Shrota(settings.repository)
    PREPARE.prepare(settings, shrota, key)
    return shrota


def test_the_bundled_checkpoint_is_exported_for_processors(environment: dict[str, str], tmp_path: Path) -> None:
    (command,) = run(environment).commands
    home = tmp_path / "home"
    assert command == [
        "export", "onnx", f"{home}/models/hindi-small", "--repository", f"{tmp_path}/models",
        "--manifest", f"{home}/samples/manifest.jsonl", "--target", "cpu",
    ]  # fmt: skip
    for path in (home / "model_repository").rglob("*.*"):
        if path.is_file():
            copied = tmp_path / "models" / path.relative_to(home / "model_repository")
            assert copied.read_bytes() == path.read_bytes()


def test_what_has_not_changed_is_not_copied_again(environment: dict[str, str], tmp_path: Path) -> None:
    run(environment)
    config = tmp_path / "models/acoustic/config.pbtxt"
    config.write_text("the export's", encoding="utf-8")
    run(environment)
    assert config.read_text(encoding="utf-8") == "the export's"
    (tmp_path / "home/model_repository/acoustic/1/model.py").write_text("a new version", encoding="utf-8")
    run(environment)
    assert (tmp_path / "models/acoustic/1/model.py").read_text(encoding="utf-8") == "a new version"
    assert "window_seconds" in config.read_text(encoding="utf-8")


def test_settings_are_written_into_the_configurations(environment: dict[str, str], tmp_path: Path) -> None:
    environment["SHROTA_SETTINGS"] = (
        "acoustic.max_audio_seconds=1800 acoustic.max_queue_size=16 acoustic_onnx.instances=2"
    )
    run(environment)
    acoustic: Any = read_configuration(tmp_path / "models/acoustic/config.pbtxt")
    assert acoustic.parameters["max_audio_seconds"].string_value == "1800"
    assert acoustic.parameters["window_seconds"].string_value == "20"
    assert acoustic.dynamic_batching.default_queue_policy.max_queue_size == 16
    engine: Any = read_configuration(tmp_path / "models/acoustic_onnx/config.pbtxt")
    assert engine.instance_group[0].count == 2


def test_a_precision_is_converted_to_once(environment: dict[str, str], tmp_path: Path) -> None:
    environment["SHROTA_PRECISION"] = "int8"
    shrota = run(environment)
    assert shrota.verbs == ["onnx", "precision"]
    assert shrota.commands[1][2:5] == [f"{tmp_path}/models/acoustic_onnx/1/model.onnx", "--to", "int8"]
    assert run(environment).verbs == ["onnx"]
    environment["SHROTA_PRECISION"] = "fp32"
    back = run(environment)
    assert back.commands[1][2:5] == [f"{tmp_path}/models/acoustic_onnx/1/model.onnx", "--to", "fp32"]


def test_a_plan_is_built_of_a_graph_that_tensorrt_knows(environment: dict[str, str]) -> None:
    shrota = run({**environment, "SHROTA_PRECISION": "fp16", "SHROTA_ENGINES": "acoustic_trt"})
    assert shrota.verbs == ["onnx", "precision", "tensorrt"]
    assert shrota.commands[1][-2:] == ["--attention", "plain"]
    assert shrota.commands[2][2:4] == ["--precision", "fp16"]
    assert "--timing-cache" not in shrota.commands[2]


def test_tf32_is_a_plan_of_the_float32_graph(environment: dict[str, str]) -> None:
    shrota = run({**environment, "SHROTA_PRECISION": "tf32", "SHROTA_ENGINES": "acoustic_trt,acoustic_onnx"})
    assert shrota.verbs == ["onnx", "tensorrt"]


@pytest.fixture
def with_cache(environment: dict[str, str], tmp_path: Path) -> dict[str, str]:
    """Of an image that builds plans and keeps them."""
    return {**environment, "SHROTA_ENGINES": "acoustic_trt", "SHROTA_CACHE": str(tmp_path / "cache")}


def other_server(environment: dict[str, str], tmp_path: Path) -> dict[str, str]:
    """The same on another node."""
    (tmp_path / "other").mkdir()
    return {**environment, "SHROTA_REPOSITORY": str(tmp_path / "other")}


def test_a_plan_is_kept_for_the_next_server_which_puts_it_through_the_gate(
    with_cache: dict[str, str], tmp_path: Path
) -> None:
    assert run(with_cache, GPU).verbs == ["onnx", "tensorrt"]
    second = run(other_server(with_cache, tmp_path), GPU)
    assert second.verbs == ["onnx", "tensorrt", "check"]
    other = tmp_path / "other"
    assert (other / "acoustic_trt/1/model.plan").read_bytes() == b"a plan"
    assert second.commands[2] == [
        "export", "check", f"{other}/acoustic_onnx/1/model.onnx", "--against", f"{other}/acoustic_onnx/1/model.onnx",
        "--manifest", f"{tmp_path}/home/samples/manifest.jsonl", "--stages",
        "--plan", f"{other}/acoustic_trt/1/model.plan",
    ]  # fmt: skip
    assert "--timing-cache" in second.commands[1]


@pytest.mark.parametrize("key", [GPU, None], ids=["cached", "not cached"])
def test_a_plan_that_was_not_compared_is_neither_served_nor_kept(
    with_cache: dict[str, str], tmp_path: Path, key: str | None
) -> None:
    settings = PREPARE.Settings.read(with_cache)
    shrota = Shrota(settings.repository)
    shrota.comparison = {"was_run": False, "why": "there is no GPU here"}
    with pytest.raises(PREPARE.PrepareError, match=r"not compared with the float32 graph .*: there is no GPU here$"):
        PREPARE.prepare(settings, shrota, key)
    assert not (settings.repository / "acoustic_trt/1/model.plan").exists()
    assert not (tmp_path / "cache/plans").exists()
    assert run(with_cache, GPU).verbs == ["onnx", "tensorrt"]
    assert (settings.repository / "acoustic_trt/1/model.plan").exists(), "once it can be compared, it is built anew"


def test_a_plan_that_was_kept_though_it_had_not_been_compared_is_built_anew(
    with_cache: dict[str, str], tmp_path: Path
) -> None:
    run(with_cache, GPU)
    (kept,) = (tmp_path / "cache/plans").iterdir()
    description = kept / "acoustic_trt/1/plan.json"
    content = json.loads(description.read_text(encoding="utf-8"))
    description.write_text(json.dumps({"plan": content["plan"]}), encoding="utf-8")
    assert run(other_server(with_cache, tmp_path), GPU).verbs == ["onnx", "tensorrt"]
    assert "comparison" in json.loads(description.read_text(encoding="utf-8"))


def test_a_plan_of_another_gpu_is_not_fetched(with_cache: dict[str, str], tmp_path: Path) -> None:
    run(with_cache, GPU)
    assert run(other_server(with_cache, tmp_path), GPU.replace("L4", "T4")).verbs == ["onnx", "tensorrt"]
    assert len(list((tmp_path / "cache/plans").iterdir())) == 2


def test_a_plan_that_is_not_whole_is_built_anew_and_replaced(with_cache: dict[str, str], tmp_path: Path) -> None:
    run(with_cache, GPU)
    (kept,) = (tmp_path / "cache/plans").iterdir()
    (kept / "acoustic_trt/1/model.plan").write_bytes(b"a pl")
    assert run(other_server(with_cache, tmp_path), GPU).verbs == ["onnx", "tensorrt"]
    assert (kept / "acoustic_trt/1/model.plan").read_bytes() == b"a plan"


def test_without_a_gpu_the_export_says_so_itself(with_cache: dict[str, str]) -> None:
    assert run(with_cache, None).verbs == ["onnx", "tensorrt"]


def test_a_finished_repository_is_copied_and_only_the_plan_is_made(with_cache: dict[str, str], tmp_path: Path) -> None:
    finished = copy_repository(tmp_path / "finished")
    (finished / "acoustic_onnx/1/model.onnx").write_bytes(b"exported before")
    assert run({**with_cache, "SHROTA_SOURCE": str(finished)}, GPU).verbs == ["tensorrt"]
    assert (tmp_path / "models/acoustic_onnx/1/model.onnx").read_bytes() == b"exported before"


@pytest.mark.parametrize(
    ("setting", "text"),
    [
        ("acoustic.window=3", "acoustic has no 'window'; it has instances, max_queue_size, batch_budget_seconds"),
        ("nobody.instances=3", "is not MODEL.SETTING=VALUE"),
        ("acoustic.max_queue_size", "is not MODEL.SETTING=VALUE"),
        ("acoustic.instances=two", "needs a whole number"),
    ],
)
def test_a_setting_that_is_none_is_said_in_one_line(environment: dict[str, str], setting: str, text: str) -> None:
    with pytest.raises(PREPARE.PrepareError, match=text):
        run({**environment, "SHROTA_SETTINGS": setting})


@pytest.mark.parametrize(
    ("error", "text"),
    [
        (PermissionError(13, "Permission denied", "/models/acoustic"), "the volumes must belong to user"),
        (OSError(28, "No space left on device", "/models/acoustic"), "No space left on device"),
    ],
)
def test_a_volume_that_cannot_be_written_is_one_line(
    environment: dict[str, str], monkeypatch: pytest.MonkeyPatch, error: OSError, text: str
) -> None:
    def fail(*_: Any) -> None:
        raise error

    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(PREPARE.shutil, "copyfile", fail)
    with pytest.raises(SystemExit, match=f"^shrota: /models/acoustic: .*{text}") as caught:
        PREPARE.main()
    assert "\n" not in str(caught.value)


def test_a_source_that_is_no_repository_is_said(environment: dict[str, str], tmp_path: Path) -> None:
    with pytest.raises(PREPARE.PrepareError, match=r"is no model repository: acoustic_onnx/config\.pbtxt is missing"):
        run({**environment, "SHROTA_SOURCE": str(tmp_path)})


def test_the_commands_are_ones_that_shrota_has(environment: dict[str, str], tmp_path: Path) -> None:
    """With the real commands: a tiny checkpoint is exported, converted to 8 bits, and nothing is done twice."""
    lines = []
    for index, num_samples in enumerate((24000, 16000)):
        soundfile.write(tmp_path / f"{index}.wav", make_audio(num_samples, index), 16000)
        lines.append(json.dumps({"audio": f"{index}.wav", "text": ""}))
    (tmp_path / "speech.jsonl").write_text("\n".join(lines), encoding="utf-8")
    settings = PREPARE.Settings.read({
        **environment,
        "SHROTA_CHECKPOINT": str(write_checkpoint(tmp_path / "checkpoint")),
        "SHROTA_SPEECH": str(tmp_path / "speech.jsonl"),
        "SHROTA_PRECISION": "int8",
        "SHROTA_SETTINGS": "acoustic.max_audio_seconds=60",
    })  # fmt: skip

    def run_here(arguments: list[str]) -> None:
        assert arguments[0] == "export"
        export.main(arguments[1:], standalone_mode=False)

    PREPARE.prepare(settings, run_here)
    manifest = settings.repository / "acoustic_onnx/1/manifest.json"
    made = manifest.read_text(encoding="utf-8")
    assert json.loads(made)["precision"]["precision"] == "int8"
    assert (settings.repository / "acoustic_onnx/1/float32.onnx").is_file()
    PREPARE.prepare(settings, run_here)
    assert manifest.read_text(encoding="utf-8") == made


def test_the_image_has_all_that_the_usual_settings_name(tmp_path: Path) -> None:
    """The export image's files, laid out from its Dockerfile, and its command; what it runs is only noted."""
    dockerfile = Dockerfile.read(ROOT / "docker/export/Dockerfile")
    assert assemble(dockerfile, dockerfile.final, ROOT, tmp_path) == []
    home = tmp_path / "opt/shrota"
    assert dockerfile.final.values("CMD") == ['["python3", "/opt/shrota/prepare.py"]']
    note = tmp_path / "bin/shrota"
    note.parent.mkdir()
    note.write_text(f'#!/bin/sh\nprintf "%s\\n" "$@" > {tmp_path}/noted\n', encoding="utf-8")
    note.chmod(0o755)
    environment = {
        **os.environ,
        "PATH": f"{note.parent}:{os.environ['PATH']}",
        "SHROTA_HOME": str(home),
        "SHROTA_REPOSITORY": str(tmp_path / "models"),
    }
    done = subprocess.run(
        [sys.executable, home / "prepare.py"], env=environment, capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stderr.splitlines()[-1]) == (0, f"{tmp_path / 'models'} is ready")
    export_, onnx, checkpoint, *options = (tmp_path / "noted").read_text(encoding="utf-8").splitlines()
    assert (export_, onnx) == ("export", "onnx")
    assert (Path(checkpoint) / "model.safetensors").is_file()
    manifest = Path(options[options.index("--manifest") + 1])
    for line in manifest.read_text(encoding="utf-8").splitlines():
        assert (manifest.parent / json.loads(line)["audio"]).is_file()
    # nothing that was exported in this checkout, and all that was not
    laid_out = {path.relative_to(tmp_path / "models") for path in (tmp_path / "models").rglob("*") if path.is_file()}
    fresh = copy_repository(tmp_path / "fresh")
    wanted = {path.relative_to(fresh) for path in fresh.rglob("*") if path.is_file()} - {Path("README.md")}
    assert laid_out == wanted | {Path(PREPARE.STAMP)}
