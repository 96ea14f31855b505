"""``shrota export onnx`` from checkpoint to repository."""

import json
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click
import numpy as np
import onnx
import pytest
import torch
from google.protobuf import text_format
from numpy.typing import NDArray
from tritonclient.grpc import model_config_pb2

import shrota_export.graph.engine
import shrota_export.graph.normalization
import shrota_export.onnx_export
import shrota_export.precision.graphs
from shrota_export.engines import Engine, Floats, open_engine
from shrota_export.errors import CheckpointError, GateError, RepositoryError, SpeechError, VerificationError
from shrota_export.exporters import export_graph
from shrota_export.speech import read_speech
from shrota_testing.checkpoints import TOKENS, make_audio, write_checkpoint
from shrota_testing.files import snapshot
from shrota_testing.repository import copy_repository

ExportTiny = Callable[..., None]


def read(path: Path) -> Any:
    return json.loads(path.read_text(encoding="utf-8"))


@pytest.fixture(scope="module")
def exported(tmp_path_factory: pytest.TempPathFactory, export_tiny: ExportTiny) -> Path:
    """A repository with the tiny checkpoint in it; not to be changed."""
    folder = copy_repository(tmp_path_factory.mktemp("exported") / "model_repository")
    export_tiny(folder)
    return folder


def test_the_graph_has_the_engines_contract(exported: Path) -> None:
    model = onnx.load(exported / "acoustic_onnx" / "1" / "model.onnx")
    onnx.checker.check_model(model)

    def describe(values: Any) -> dict[str, tuple[int, list[str | int]]]:
        types = {value.name: value.type.tensor_type for value in values}
        axes = {name: [axis.dim_param or axis.dim_value for axis in kind.shape.dim] for name, kind in types.items()}
        return {name: (kind.elem_type, axes[name]) for name, kind in types.items()}

    float32, int32 = onnx.TensorProto.FLOAT, onnx.TensorProto.INT32
    assert describe(model.graph.input) == {"AUDIO": (float32, ["B", "T"]), "NUM_SAMPLES": (int32, ["B", 1])}
    outputs = {"LOG_PROBS": (float32, ["B", "F", len(TOKENS)]), "NUM_FRAMES": (int32, ["B", 1])}
    assert describe(model.graph.output) == outputs
    assert [(entry.domain, entry.version) for entry in model.opset_import] == [("", 17)]


def test_the_files_beside_it(exported: Path) -> None:
    frontend = {"sample_rate": 16000, "stride": 320, "receptive_field": 400, "normalize": True}
    assert read(exported / "acoustic" / "1" / "frontend.json") == frontend
    assert read(exported / "ctc_decoder" / "1" / "vocab.json") == {
        "tokens": TOKENS,
        "blank": "<pad>",
        "word_delimiter": "|",
        "special_tokens": ["<pad>", "<s>", "</s>", "<unk>"],
        "frame_seconds": 0.02,
    }
    config = model_config_pb2.ModelConfig()
    text_format.Parse((exported / "acoustic_onnx" / "config.pbtxt").read_text(encoding="utf-8"), config)
    assert {output.name: list(output.dims) for output in config.output}["LOG_PROBS"] == [-1, len(TOKENS)]


def test_the_manifest_says_what_was_made_of_what(exported: Path, tiny_checkpoint: Path) -> None:
    manifest = read(exported / "acoustic_onnx" / "1" / "manifest.json")
    assert manifest["checkpoint"]["name"] == str(tiny_checkpoint)
    assert len(manifest["checkpoint"]["sha256"]) == 64
    assert manifest["checkpoint"]["config"]["model_type"] == "wav2vec2"
    assert (manifest["settings"]["exporter"], manifest["settings"]["opset"]) == ("torchscript", 17)
    assert {"torch", "transformers", "onnx", "onnxruntime"} < set(manifest["settings"]["versions"])
    assert manifest["graph"]["LayerNormalization"] == 13
    differences = manifest["verification"]["largest_difference"]
    assert set(differences) == {"alone", "padded", "batch", "invariance"}
    assert all(0 <= value < 1e-4 for value in differences.values())
    assert len(manifest["verification"]["speech"]) == 5
    model = exported / "acoustic_onnx" / "1" / "model.onnx"
    assert manifest["files"]["acoustic_onnx/1/model.onnx"]["bytes"] == model.stat().st_size


def test_a_second_export_is_quick_and_does_nothing(exported: Path, tiny_checkpoint: Path, speech: Path) -> None:
    before = snapshot(exported)
    program = (
        "import sys, time; started = time.monotonic()\n"
        "from shrota_export.cli import export\n"
        "export.main(sys.argv[1:], standalone_mode=False)\n"
        "assert not {'torch', 'transformers', 'onnxruntime'} & set(sys.modules)\n"
        "assert time.process_time() < 2"
    )
    arguments = ["onnx", str(tiny_checkpoint), "--repository", str(exported), "--speech", str(speech)]
    done = subprocess.run([sys.executable, "-c", program, *arguments], capture_output=True, text=True, check=True)
    assert "already exported" in done.stderr
    assert snapshot(exported) == before


@pytest.mark.parametrize("spoilt", ["model.onnx", "frontend.json", "vocab.json"])
def test_what_is_damaged_is_exported_again(
    exported: Path, export_tiny: ExportTiny, tmp_path: Path, spoilt: str
) -> None:
    repository = Path(shutil.copytree(exported, tmp_path / "copy"))
    before = snapshot(repository)
    (path,) = repository.rglob(spoilt)
    path.write_bytes(path.read_bytes()[:20])
    export_tiny(repository)
    after = snapshot(repository)
    assert {name for name in before if before[name] != after[name]} <= {"acoustic_onnx/1/manifest.json"}


def test_a_configuration_restored_from_git_is_mended(exported: Path, export_tiny: ExportTiny, tmp_path: Path) -> None:
    repository = Path(shutil.copytree(exported, tmp_path / "copy"))
    mended = (repository / "acoustic_onnx" / "config.pbtxt").read_text(encoding="utf-8")
    source = copy_repository(tmp_path / "source")
    shutil.copy(source / "acoustic_onnx" / "config.pbtxt", repository / "acoustic_onnx")
    export_tiny(repository)
    assert (repository / "acoustic_onnx" / "config.pbtxt").read_text(encoding="utf-8") == mended


def test_other_settings_or_force_export_again(
    exported: Path, export_tiny: ExportTiny, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    repository = Path(shutil.copytree(exported, tmp_path / "copy"))
    export_tiny(repository, "--force")
    assert "already exported" not in capsys.readouterr().err
    export_tiny(repository, "--opset", "18")
    progress = capsys.readouterr().err
    for step in ("load the checkpoint", "run it on speech", "export the graph", "verify the graph", "write the"):
        assert step in progress
    assert read(repository / "acoustic_onnx" / "1" / "manifest.json")["settings"]["opset"] == 18


def test_a_checkpoint_that_does_not_normalise(export_tiny: ExportTiny, repository: Path, tmp_path: Path) -> None:
    export_tiny(repository, checkpoint=write_checkpoint(tmp_path / "plain", normalize=False))
    assert read(repository / "acoustic" / "1" / "frontend.json")["normalize"] is False


def test_group_norm_is_exact_and_may_be_batched(export_tiny: ExportTiny, repository: Path, tmp_path: Path) -> None:
    export_tiny(repository, checkpoint=write_checkpoint(tmp_path / "group", "wav2vec2 with group norm"))
    differences = read(repository / "acoustic_onnx" / "1" / "manifest.json")["verification"]["largest_difference"]
    assert differences["batch"] < 1e-4


@pytest.mark.parametrize(
    ("convolutions", "receptive_field"),
    [(((10, 5), (3, 4), (3, 4)), 60), (((10, 5), (8, 4), (8, 2), (8, 2), (6, 2)), 865)],
)
def test_the_verification_follows_the_checkpoints_geometry(
    export_tiny: ExportTiny,
    repository: Path,
    monkeypatch: pytest.MonkeyPatch,
    convolutions: tuple[tuple[int, int], ...],
    receptive_field: int,
) -> None:
    """A row of one sample too few is the longest that must give no frame; convolutions are (kernel, stride)."""
    lengths: set[int] = set()

    def open_watched(path: Path) -> Engine:
        engine = open_engine(path)

        def run(audio: Floats, num_samples: NDArray[np.int32]) -> tuple[Floats, NDArray[np.int32]]:
            lengths.update(num_samples[:, 0].tolist())
            return engine(audio, num_samples)

        return run

    monkeypatch.setattr(shrota_export.onnx_export, "open_engine", open_watched)
    kernels, strides = zip(*convolutions, strict=True)
    geometry: dict[str, Any] = {"conv_dim": [16] * len(kernels), "conv_kernel": kernels, "conv_stride": strides}
    export_tiny(repository, checkpoint=write_checkpoint(repository.with_name("other"), **geometry))
    frontend = read(repository / "acoustic" / "1" / "frontend.json")
    assert (frontend["receptive_field"], frontend["stride"]) == (receptive_field, int(np.prod(strides)))
    assert sorted(lengths)[:2] == [0, receptive_field - 1]


BY = r"from the checkpoint by \S+ in log-probability \(at most 0\.001\)"
CUT = r"\d\.wav \[\d\.\d\d s to \d\.\d\d s\]"


def break_the_mask(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shrota_export.graph.engine, "MASKED_SCORE", 0.0)


def break_the_frames(monkeypatch: pytest.MonkeyPatch) -> None:
    original = shrota_export.graph.normalization.count_frames
    monkeypatch.setattr(shrota_export.graph.engine, "count_frames", lambda *args: original(*args) - 1)


def break_the_weights(monkeypatch: pytest.MonkeyPatch) -> None:
    original = export_graph

    def spoil(*arguments: Any) -> onnx.ModelProto:
        model = original(*arguments)
        for tensor in model.graph.initializer:
            if tensor.name.endswith("head.bias"):
                tensor.raw_data = (
                    (np.frombuffer(tensor.raw_data, np.float32) + np.eye(1, len(TOKENS), 7)[0] / 100)
                    .astype(np.float32)
                    .tobytes()
                )
        return model

    monkeypatch.setattr(shrota_export.onnx_export, "export_graph", spoil)


@pytest.mark.parametrize(
    ("break_it", "what"),
    [
        (break_the_mask, rf"differs {BY}: {CUT}, padded with noise, frame \d+ of \d+"),
        (break_the_weights, rf"differs {BY}: {CUT}, alone, frame \d+ of \d+"),
        (break_the_frames, rf"gives \d+ frames instead of \d+: {CUT}, alone"),
    ],
)
def test_a_graph_that_differs_is_not_published(
    export_tiny: ExportTiny,
    repository: Path,
    monkeypatch: pytest.MonkeyPatch,
    break_it: Callable[[pytest.MonkeyPatch], None],
    what: str,
) -> None:
    before = snapshot(repository)
    break_it(monkeypatch)
    with pytest.raises(VerificationError, match=f"{what}; nothing was written"):
        export_tiny(repository)
    assert snapshot(repository) == before


def test_what_the_gate_refuses_is_not_installed(
    export_tiny: ExportTiny, repository: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its own comparison, not only that of the cuts."""
    before = snapshot(repository)
    break_the_mask(monkeypatch)
    monkeypatch.setattr(shrota_export.onnx_export, "verify", lambda *_: dict.fromkeys(("alone", "invariance"), 0.0))
    message = r"the exported graph \(fp32\) is refused: log-probabilities differ .* at full batch"
    with pytest.raises(GateError, match=message):
        export_tiny(repository)
    assert snapshot(repository) == before


def test_the_gate_says_what_it_found(
    export_tiny: ExportTiny, repository: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Of speech without texts only log-probabilities; a random model's tokens mean nothing."""
    export_tiny(repository)
    found = read(repository / "acoustic_onnx" / "1" / "manifest.json")["gate"]
    assert found["passed"] is True
    assert found["reference"] == "PyTorch"
    assert found["from_reference"]["alone"]["frames"] > 100
    assert "no texts or tokens" in found["tokens_not_judged_because"]
    assert "judged by log-probabilities and batch invariance only: no texts" in capsys.readouterr().err


def test_a_model_that_does_not_export_is_refused(
    export_tiny: ExportTiny, repository: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = snapshot(repository)

    def fail(*_: object, **__: object) -> None:
        raise RuntimeError("Unsupported operator\nand a page of text")

    monkeypatch.setattr(torch.onnx, "export", fail)
    message = r"PyTorch's exporter \(torchscript\) fails on it: Unsupported operator$"
    with pytest.raises(CheckpointError, match=message):
        export_tiny(repository)
    assert snapshot(repository) == before


def test_another_user_may_serve_it(exported: Path, tmp_path: Path) -> None:
    (tmp_path / "any new file").touch()
    usual = (tmp_path / "any new file").stat().st_mode
    model, manifest = (exported / "acoustic_onnx" / "1" / name for name in ("model.onnx", "manifest.json"))
    assert model.stat().st_mode == manifest.stat().st_mode == usual


@pytest.mark.parametrize("failure", [KeyboardInterrupt, MemoryError])
def test_an_interrupted_export_leaves_nothing(
    export_tiny: ExportTiny,
    repository: Path,
    monkeypatch: pytest.MonkeyPatch,
    failure: type[BaseException],
) -> None:
    before = snapshot(repository)

    def interrupt(*_: object) -> None:
        raise failure

    monkeypatch.setattr(shrota_export.onnx_export, "verify", interrupt)
    with pytest.raises((failure, click.Abort)):
        export_tiny(repository)
    assert snapshot(repository) == before


def test_weights_too_large_for_a_protobuf_go_beside_the_graph(
    export_tiny: ExportTiny, repository: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shrota_export.precision.graphs, "LARGEST_PROTOBUF", 10_000)
    folder = repository / "acoustic_onnx" / "1"
    export_tiny(repository)
    (first,) = folder.glob("*.data")
    assert first.stat().st_mode == (folder / "model.onnx").stat().st_mode
    assert (folder / "model.onnx").stat().st_size < first.stat().st_size
    audio = make_audio(4000)[None]
    log_probs, num_frames = open_engine(folder / "model.onnx")(audio, np.array([[4000]], np.int32))
    assert (log_probs.shape, num_frames.tolist()) == ((1, 12, len(TOKENS)), [[12]])
    export_tiny(repository, "--opset", "18")
    (second,) = folder.glob("*.data")
    assert second.name != first.name


def test_no_speech_to_verify_with(export_tiny: ExportTiny, repository: Path, tmp_path: Path) -> None:
    before = snapshot(repository)
    with pytest.raises(SpeechError, match="name a manifest with --manifest"):
        export_tiny(repository, "--speech", str(tmp_path / "manifest.jsonl"))
    for line in ("", "not json", '{"text": "क"}', '["a.wav"]', '{"audio": "missing.wav"}'):
        (tmp_path / "manifest.jsonl").write_text(line, encoding="utf-8")
        with pytest.raises(SpeechError, match=r"manifest\.jsonl"):
            export_tiny(repository, "--speech", str(tmp_path / "manifest.jsonl"))
    (tmp_path / "manifest.jsonl").write_text('\n{"audio": "a.wav"}\n{"text": "क"}\n', encoding="utf-8")
    with pytest.raises(SpeechError, match=r'manifest\.jsonl, line 3: there is no "audio" with a path'):
        export_tiny(repository, "--speech", str(tmp_path / "manifest.jsonl"))
    assert snapshot(repository) == before


def test_a_manifest_is_read_as_everywhere(speech: Path, tmp_path: Path) -> None:
    """With a byte order mark, and with a line separator inside of a text."""
    line = json.dumps({"audio": str(speech.parent / "0.wav"), "text": "क\u2028ख"}, ensure_ascii=False)
    (tmp_path / "manifest.jsonl").write_text(line, encoding="utf-8-sig")
    assert read_speech(tmp_path / "manifest.jsonl", 16000)[0].name == "0.wav [0.00 s to 1.50 s]"


def test_no_repository(export_tiny: ExportTiny, tmp_path: Path) -> None:
    with pytest.raises(RepositoryError, match="copy the folder model_repository from the source"):
        export_tiny(tmp_path / "nowhere")


def test_errors_are_one_line_on_the_command_line(tmp_path: Path) -> None:
    program = "from shrota_client.cli import main; main()"
    command = [sys.executable, "-c", program, "export", "onnx", "missing", "--repository", str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert done.stderr.startswith("shrota: error: no model repository at ")
    assert done.stderr.count("\n") == 1
