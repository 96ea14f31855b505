"""``acoustic_torch``: the engine in PyTorch gives what the checkpoint gives, and is installed only if it does.

Half precision and the kernels run on GPUs only: here, in float32 on a processor, everything around them is tested.
"""

import json
import os
import shutil
import signal
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from tritonclient.utils import InferenceServerException

from shrota_client import Client, ServerUnavailableError
from shrota_export.checkpoint import Checkpoint, find_checkpoint
from shrota_export.engines import make_batch
from shrota_export.errors import CheckpointError, ExportError, GateError, RepositoryError
from shrota_export.graph.engine import AcousticEngine
from shrota_export.loading import load_model
from shrota_export.manifest import write_json
from shrota_export.packed import export_torch as module
from shrota_export.packed.export_torch import Order, export_torch
from shrota_export.packed.weights import packed_weights, unsupported
from shrota_export.precision.kinds import Precision
from shrota_server import TritonServer
from shrota_server.errors import EngineError
from shrota_server.torch_engine import check_torch_engine
from shrota_testing.checkpoints import FAMILIES, make_audio, make_model, write_checkpoint
from shrota_testing.files import snapshot
from shrota_testing.repository import copy_repository
from shrota_testing.triton import halted, infer, stub_pid, tensor, wait_until
from shrota_testing.utterances import noise
from shrota_torch.engine import TorchEngine, frames_of
from shrota_torch.graphs import Graphs
from shrota_torch.plan import EngineFileError, read_engine

FOLDER = Path("acoustic_torch/1")
LENGTHS = (24000, 3999, 16000, 100, 0)
"""Samples; the last two give no frame."""


@pytest.fixture(scope="module")
def checkpoint(tiny_checkpoint: Path) -> Checkpoint:
    return find_checkpoint(str(tiny_checkpoint))


@pytest.fixture(scope="module")
def exported(
    tmp_path_factory: pytest.TempPathFactory,
    export_tiny: Callable[..., None],
    checkpoint: Checkpoint,
    speech: Path,
) -> Path:
    """A repository with both engines; not to be changed."""
    folder = copy_repository(tmp_path_factory.mktemp("torch") / "model_repository")
    export_tiny(folder)
    report = export_torch(checkpoint, folder, Order(Precision.FP32, speech, device="cpu"))
    assert not report.failures
    return folder


def reference(checkpoint: Checkpoint, audio: Any, num_samples: Any, *, normalize: bool = True) -> tuple[Any, Any]:
    engine = AcousticEngine(load_model(checkpoint), normalize=normalize).eval()
    with torch.inference_mode():
        log_probs, num_frames = engine(torch.from_numpy(audio), torch.from_numpy(num_samples))
    return log_probs.numpy(), num_frames.numpy()


def batch(lengths: tuple[int, ...] = LENGTHS) -> tuple[Any, Any]:
    """Rows of audio, NaN behind each one's end: what is padding must not matter."""
    audio, num_samples = make_batch([make_audio(max(length, 1), seed) for seed, length in enumerate(lengths)])
    num_samples = np.array(lengths, np.int32)[:, None]
    for row, length in enumerate(lengths):
        audio[row, length:] = np.nan
    return audio, num_samples


def test_a_batch_of_any_lengths_gives_what_the_checkpoint_gives(exported: Path, checkpoint: Checkpoint) -> None:
    audio, num_samples = batch()
    log_probs, num_frames = TorchEngine(exported / FOLDER, "cpu").run(audio, num_samples)
    expected, expected_frames = reference(checkpoint, np.nan_to_num(audio), num_samples)
    np.testing.assert_array_equal(num_frames, expected_frames)
    assert log_probs.shape == expected.shape
    assert num_frames.ravel().tolist()[-2:] == [0, 0]
    for row, frames in enumerate(num_frames.ravel()):
        np.testing.assert_allclose(log_probs[row, :frames], expected[row, :frames], atol=1e-4)
        assert not log_probs[row, frames:].any()


def test_a_row_is_the_same_alone(exported: Path) -> None:
    engine = TorchEngine(exported / FOLDER, "cpu")
    audio, num_samples = batch()
    together, num_frames = engine.run(audio, num_samples)
    for row, length in enumerate(LENGTHS):
        if num_frames[row, 0]:
            alone, frames = engine.run(audio[row : row + 1, :length].copy(), num_samples[row : row + 1])
            assert frames.tolist() == [num_frames[row].tolist()]
            np.testing.assert_allclose(alone[0], together[row, : num_frames[row, 0]], atol=1e-5)


def test_in_8_bits_it_is_near_and_a_row_is_the_same_alone(tmp_path: Path) -> None:
    checkpoint = find_checkpoint(str(write_checkpoint(tmp_path / "deep", num_hidden_layers=4)))
    model = load_model(checkpoint)
    save_file(packed_weights(model), tmp_path / "engine.safetensors")
    write_json(tmp_path / "engine.json", module.architecture_of(model.config, Precision.FP8, normalize=True))
    engine = TorchEngine(tmp_path, "cpu")
    audio, num_samples = batch()
    together, num_frames = engine.run(audio, num_samples)
    expected, _ = reference(checkpoint, np.nan_to_num(audio), num_samples)
    for row, frames in enumerate(num_frames.ravel()):
        if frames:
            difference = np.abs(together[row, :frames] - expected[row, :frames])
            assert 1e-3 < difference.mean() < 0.6  # what the gate allows; float16 alone would be nearer
            alone, _ = engine.run(audio[row : row + 1, : LENGTHS[row]].copy(), num_samples[row : row + 1])
            assert np.abs(alone[0] - together[row, :frames]).mean() < 0.1


def test_the_first_and_the_last_layer_are_not_in_8_bits(exported: Path, tmp_path: Path) -> None:
    """Of two layers both are: then 8 bits are 16."""
    audio, num_samples = batch()
    results = []
    for precision in ("fp8", "fp16"):
        folder = tmp_path / precision
        shutil.copytree(exported / FOLDER, folder)
        replace(read_engine(folder)[0], precision=precision).write(folder / "engine.json")
        results.append(TorchEngine(folder, "cpu").run(audio, num_samples)[0])
    np.testing.assert_array_equal(results[0], results[1])


class Again:
    """In the place of a CUDA graph: what was captured is run again, on the same memory."""

    def __init__(self, run: Callable[[], None]) -> None:
        run()
        self.replay = run


def with_graphs(folder: Path, most_frames: int = 200, most_rows: int = 3) -> TorchEngine:
    """An engine that works as on a GPU, but that its graphs are :class:`Again`."""
    engine = TorchEngine(folder, "cpu")
    engine._capture = Again  # type: ignore[assignment]
    engine._graphs = Graphs(
        engine._encode,
        Again,  # type: ignore[arg-type]
        engine.device,
        most_frames=most_frames,
        most_rows=most_rows,
        width=engine._projection[1].shape[1],
        vocabulary=engine._vocabulary,
    )
    return engine


@pytest.mark.parametrize(
    "batches",
    [
        [(20000,), (5000,), (31000,), (400,), (20000,)],  # one row each: what the last one left is not seen
        [(20000, 9000), (8000, 8000, 5000), (20000, 9000)],  # the second has fewer frames, in more rows
        [(24000, 24000, 24000), (8000,) * 4, (30000,) * 3, (9000, 3000)],  # too many rows, too many frames: no graph
    ],
    ids=["alone", "together", "beyond the graphs"],
)
def test_graphs_give_what_is_given_without_them(exported: Path, batches: list[tuple[int, ...]]) -> None:
    plain, engine = TorchEngine(exported / FOLDER, "cpu"), with_graphs(exported / FOLDER)
    for lengths in batches:
        audio, num_samples = batch(lengths)
        expected, expected_frames = plain.run(audio, num_samples)
        found, frames = engine.run(audio, num_samples)
        np.testing.assert_array_equal(frames, expected_frames)
        np.testing.assert_allclose(found, expected, atol=1e-5)


def test_graphs_that_are_made_before_change_nothing(exported: Path) -> None:
    engine = with_graphs(exported / FOLDER)
    audio, num_samples = batch((20000, 9000))
    expected, _ = engine.run(audio, num_samples)
    assert engine._graphs is not None
    engine._graphs.prepare()
    np.testing.assert_array_equal(engine.run(audio, num_samples)[0], expected)


@pytest.mark.parametrize("rows", [(), (300,), (1, 1)], ids=["no rows", "less than a frame", "one sample"])
def test_a_batch_without_frames_is_no_error(exported: Path, rows: tuple[int, ...]) -> None:
    audio = np.zeros((len(rows), max(rows, default=5)), np.float32)
    log_probs, num_frames = TorchEngine(exported / FOLDER, "cpu").run(audio, np.array(rows, np.int32).reshape(-1, 1))
    assert num_frames.ravel().tolist() == [0] * len(rows)
    assert log_probs.shape[:2] == (len(rows), 0)


def test_frames_are_counted_as_the_convolutions_do(exported: Path) -> None:
    architecture, _ = read_engine(exported / FOLDER)
    convolutions = torch.nn.Sequential(
        *(
            torch.nn.Conv1d(1, 1, kernel, stride)
            for kernel, stride in zip(architecture.kernels, architecture.strides, strict=True)
        )
    )
    for samples in (400, 719, 720, 16000, 23456):
        assert int(frames_of(np.array([samples]), architecture)[0]) == convolutions(torch.zeros(1, 1, samples)).shape[2]
    assert architecture.receptive_field == 400
    assert architecture.stride == 320


def test_audio_that_is_not_normalised_stays_as_it_is(
    tmp_path: Path, speech: Path, export_tiny: Callable[..., None]
) -> None:
    folder = write_checkpoint(tmp_path / "plain", normalize=False)
    repository = copy_repository(tmp_path / "model_repository")
    export_tiny(repository, checkpoint=folder)
    found = find_checkpoint(str(folder))
    export_torch(found, repository, Order(Precision.FP32, speech, device="cpu"))
    audio, num_samples = make_batch([make_audio(8000)])
    log_probs, _ = TorchEngine(repository / FOLDER, "cpu").run(audio, num_samples)
    expected, _ = reference(found, audio, num_samples, normalize=False)
    np.testing.assert_allclose(log_probs, expected, atol=1e-4)


@pytest.mark.triton
def test_triton_serves_it_and_the_transcripts_are_those_of_the_other_engine(exported: Path) -> None:
    """Alone, and of many that run at a time: none is answered with another's."""
    utterances = [make_audio(8000 + 1500 * seed, seed) for seed in range(12)]
    texts = {}
    for engine in ("acoustic_torch", "acoustic_onnx"):
        with (
            TritonServer(exported, models=["asr", engine], default_engine=engine) as server,
            Client(server.grpc_url) as client,
        ):
            texts[engine] = [client.transcribe(utterance).text for utterance in utterances]
            if engine == "acoustic_torch":
                with ThreadPoolExecutor(8) as pool:
                    together = list(pool.map(lambda each: client.transcribe(each).text, utterances * 4))
    assert all(texts["acoustic_torch"])
    assert len(set(texts["acoustic_torch"])) == len(utterances)
    assert texts["acoustic_torch"] == texts["acoustic_onnx"]
    assert together == texts["acoustic_torch"] * 4


@pytest.mark.triton
def test_rows_that_are_none_are_refused_and_harm_no_other(exported: Path) -> None:
    with TritonServer(exported, models=["acoustic_torch"]) as server:
        audio, num_samples = batch((8000,))
        outputs = ["LOG_PROBS", "NUM_FRAMES"]
        good = [tensor("AUDIO", np.nan_to_num(audio)), tensor("NUM_SAMPLES", num_samples)]
        bad = [tensor("AUDIO", np.nan_to_num(audio)), tensor("NUM_SAMPLES", np.full((1, 1), 99999, np.int32))]
        log_probs, num_frames = infer(server.grpc_url, "acoustic_torch", good, outputs)
        assert num_frames.tolist() == [[24]]
        clamped, _ = infer(server.grpc_url, "acoustic_torch", bad, outputs)
        np.testing.assert_allclose(clamped, log_probs, atol=1e-5)


@pytest.mark.triton
def test_when_its_process_is_killed_whoever_waits_is_told_and_it_serves_again(exported: Path) -> None:
    with (
        TritonServer(
            exported, models=["asr", "acoustic_torch"], default_engine="acoustic_torch", supervise=True
        ) as server,
        ThreadPoolExecutor(1) as pool,
        Client(server.grpc_url) as client,
    ):
        before = client.transcribe(make_audio(9000)).text
        with halted(server.pid, "acoustic_torch"):
            waiting = pool.submit(infer, server.grpc_url, "asr", [tensor("AUDIO", noise(1.0)[None])], ["TRANSCRIPT"])
            time.sleep(0.5)
            os.kill(stub_pid(server.pid, "acoustic_torch"), signal.SIGKILL)
        with pytest.raises(InferenceServerException):
            waiting.result(20)

        def serves_again() -> bool:
            try:
                return client.transcribe(make_audio(9000)).text == before
            except ServerUnavailableError:
                return False

        assert wait_until(serves_again, 20)


def test_without_a_gpu_it_is_refused_in_one_line(exported: Path, checkpoint: Checkpoint, speech: Path) -> None:
    assert not torch.cuda.is_available()
    with pytest.raises(ExportError, match=r"^acoustic_torch is for GPUs, and PyTorch finds none here: .*served$"):
        export_torch(checkpoint, exported, Order(Precision.FP16, speech))


def test_a_repository_of_another_checkpoint_is_refused(
    exported: Path, repository: Path, checkpoint: Checkpoint, speech: Path, tmp_path: Path
) -> None:
    other = find_checkpoint(str(write_checkpoint(tmp_path / "other", hidden_size=48)))
    with pytest.raises(RepositoryError, match=r"has another checkpoint: run `shrota export onnx .*other` first"):
        export_torch(other, exported, Order(Precision.FP32, speech, device="cpu"))
    with pytest.raises(RepositoryError, match="has no checkpoint"):
        export_torch(checkpoint, repository, Order(Precision.FP32, speech, device="cpu"))


def test_what_the_gate_refuses_is_not_installed(
    exported: Path, checkpoint: Checkpoint, speech: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    repository = tmp_path / "model_repository"
    shutil.copytree(exported, repository)
    before = snapshot(repository)

    def corrupted(model: Any) -> Any:
        found = packed_weights(model)
        found["layers.1.up.weight"][0] *= -3
        return found

    monkeypatch.setattr(module, "packed_weights", corrupted)
    with pytest.raises(GateError):
        export_torch(checkpoint, repository, Order(Precision.FP32, speech, device="cpu"))
    assert snapshot(repository) == before


@pytest.mark.parametrize(
    "family", [family for family in FAMILIES if family != "wav2vec2"], ids=lambda family: family.replace(" ", "-")
)
def test_another_architecture_is_said_to_be_one(family: str) -> None:
    reason = unsupported(make_model(family).config)
    assert reason is not None
    assert "acoustic_onnx" in reason


def test_a_checkpoint_that_is_not_supported_is_refused(
    tmp_path: Path, export_tiny: Callable[..., None], speech: Path
) -> None:
    folder = write_checkpoint(tmp_path / "group", "wav2vec2 with group norm")
    repository = copy_repository(tmp_path / "model_repository")
    export_tiny(repository, checkpoint=folder)
    before = snapshot(repository)
    with pytest.raises(CheckpointError, match="has no engine acoustic_torch: its feat_extract_norm is 'group'"):
        export_torch(find_checkpoint(str(folder)), repository, Order(Precision.FP32, speech, device="cpu"))
    assert snapshot(repository) == before


@pytest.mark.parametrize("name", ["engine.json", "engine.safetensors"])
@pytest.mark.parametrize("content", [None, b"", b"no such thing"])
def test_a_broken_file_of_the_engine_is_one_line(
    exported: Path, tmp_path: Path, name: str, content: bytes | None
) -> None:
    shutil.copytree(exported / FOLDER, tmp_path / "engine")
    (tmp_path / "engine" / name).unlink()
    if content is not None:
        (tmp_path / "engine" / name).write_bytes(content)
    with pytest.raises(EngineFileError, match=r"export again with `shrota export torch`$"):
        TorchEngine(tmp_path / "engine", "cpu")


def test_weights_of_another_engine_are_one_line(exported: Path, tmp_path: Path) -> None:
    shutil.copytree(exported / FOLDER, tmp_path / "engine")
    tensors = load_file(tmp_path / "engine" / "engine.safetensors")
    del tensors["layers.1.qkv.weight"]
    save_file(tensors, tmp_path / "engine" / "engine.safetensors")
    with pytest.raises(EngineFileError, match=r"layers\.1\.qkv\.weight"):
        TorchEngine(tmp_path / "engine", "cpu")


def test_serve_refuses_an_engine_of_another_checkpoint(exported: Path, tmp_path: Path) -> None:
    check_torch_engine(exported)
    repository = tmp_path / "model_repository"
    shutil.copytree(exported, repository)
    manifest = repository / FOLDER / "manifest.json"
    content = json.loads(manifest.read_text(encoding="utf-8"))
    content["checkpoint"]["sha256"] = "0" * 64
    manifest.write_text(json.dumps(content), encoding="utf-8")
    with pytest.raises(EngineError, match="is of another checkpoint than the last export"):
        check_torch_engine(repository)
    manifest.write_text("{}", encoding="utf-8")
    with pytest.raises(EngineError, match="cannot be read"):
        check_torch_engine(repository)
    manifest.unlink()
    with pytest.raises(EngineError, match="no engine at"):
        check_torch_engine(repository)
