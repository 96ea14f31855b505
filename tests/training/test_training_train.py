"""Training itself: the way through the model is Hugging Face's, and a run goes on where it stopped."""

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from transformers import Wav2Vec2ForCTC

from shrota_testing.repository import ROOT
from shrota_training.batches import Batch
from shrota_training.model import make_config
from shrota_training.other_voices import write
from shrota_training.recogniser import Recogniser, frames_of, greedy, loss_of, spans

VOCAB = ROOT / "models" / "hindi-small" / "vocab.json"


@pytest.fixture(scope="module")
def model() -> Wav2Vec2ForCTC:
    """A model with the architecture of the bundled checkpoint, but narrow."""
    torch.manual_seed(0)
    config = make_config(conv_dim=(16,) * 7, hidden_size=64, layers=2, intermediate_size=64)
    return Wav2Vec2ForCTC(config).eval()


def test_the_way_through_the_model_is_that_of_hugging_face(model: Wav2Vec2ForCTC) -> None:
    samples = torch.tensor([16_000, 9_000, 12_345])
    audio = torch.randn(3, 16_000)
    attention_mask = (torch.arange(16_000) < samples[:, None]).long()
    frames = frames_of(model, samples)
    assert frames.tolist() == [49, 27, 38]
    with torch.inference_mode():
        expected = torch.log_softmax(model(audio * attention_mask, attention_mask=attention_mask).logits, -1)
        result = Recogniser(model).eval()(audio * attention_mask, frames, 0.0)
    for row, other, count in zip(result, expected, frames.tolist(), strict=True):
        torch.testing.assert_close(row[:count], other[:count], atol=1e-5, rtol=0)


def test_the_loss_is_that_of_hugging_face(model: Wav2Vec2ForCTC) -> None:
    samples, tokens = torch.tensor([16_000, 9_000]), [[5, 6, 4, 7], [8, 8, 9]]
    audio = torch.randn(2, 16_000)
    attention_mask = (torch.arange(16_000) < samples[:, None]).long()
    labels = torch.tensor([[5, 6, 4, 7], [8, 8, 9, -100]])
    batch = Batch(
        audio * attention_mask, samples, torch.tensor([t for line in tokens for t in line]), torch.tensor([4, 3])
    )
    frames = frames_of(model, samples)
    with torch.inference_mode():
        result = loss_of(Recogniser(model).eval()(batch.audio, frames, 0.0), frames, batch)
        model.config.ctc_loss_reduction = "sum"
        expected = model(batch.audio, attention_mask=attention_mask, labels=labels).loss / 7
    torch.testing.assert_close(result, expected, atol=1e-4, rtol=0)


def test_masks_are_spans_of_about_the_share() -> None:
    torch.manual_seed(0)
    hidden = torch.zeros(200, 1000, 4)
    masked = spans(hidden, 0.06)
    assert masked.float().mean().item() == pytest.approx(0.06, abs=0.005)
    edges = torch.nonzero(torch.diff(masked[0].int()))[:, 0]
    assert not masked[0, 0]
    assert [int(end - start) for start, end in zip(edges[::2], edges[1::2], strict=False)] == [10] * (len(edges) // 2)
    assert not spans(hidden, 0.0).any()


def test_greedy_joins_repeats_and_leaves_special_tokens_out() -> None:
    path = torch.tensor([[0, 5, 5, 0, 5, 4, 4, 3, 6, 6]])
    log_probs = torch.nn.functional.one_hot(path, 12).float()
    assert greedy(log_probs, torch.tensor([10])) == [[5, 5, 4, 6]]
    assert greedy(log_probs, torch.tensor([3])) == [[5]]


def run(*arguments: str, processes: int = 1) -> str:
    """Run the training script; return what it printed."""
    launch = [sys.executable, "-m"]
    if processes > 1:
        launch += ["torch.distributed.run", "--standalone", "--nproc-per-node", str(processes), "-m"]
    environment = {
        **os.environ,
        "PYTHONPATH": str(ROOT / "training"),
        "OMP_NUM_THREADS": "1",
        "GLOO_SOCKET_IFNAME": "lo",
    }
    command = [*launch, "shrota_training.train", *arguments]
    done = subprocess.run(command, env=environment, cwd=ROOT, capture_output=True, text=True, timeout=240, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    return done.stdout


def test_two_processes_train_together_and_one_goes_on_from_there(tmp_path: Path) -> None:
    random = np.random.default_rng(0)
    lines = [(text, random.normal(0, 2000, 24_000).astype(np.int16)) for text in ("यह", "वह क्या", "अब", "कल नहीं")]
    write(iter(lines), "noise", tmp_path / "speech")
    index = tmp_path / "speech" / "speech-noise.jsonl"
    rows = [json.loads(line) for line in index.read_text(encoding="utf-8").splitlines()]
    rows[-1]["development"] = True
    index.write_text("\n".join(json.dumps(row) for row in rows), encoding="utf-8")
    usual = ["--speech", str(tmp_path / "speech"), "--vocab", str(VOCAB), "--output", str(tmp_path / "run")]
    usual += ["--minutes", "60", "--batch-s", "4"]
    run(*usual, "--max-steps", "2", processes=2)
    first = torch.load(tmp_path / "run" / "state.pt")
    assert first["steps"] == 2
    assert (tmp_path / "run" / "checkpoint" / "model.safetensors").stat().st_size < 20_000_000
    # a mark that only weights which were read from the file can bear
    for part in ("model", "average"):
        first[part]["lm_head.bias"] += 1
    torch.save(first, tmp_path / "run" / "state.pt")
    run(*usual, "--max-steps", "3")
    second = torch.load(tmp_path / "run" / "state.pt")
    assert second["steps"] == 3
    assert second["done_s"] > first["done_s"]
    log = [json.loads(line) for line in (tmp_path / "run" / "log.jsonl").read_text(encoding="utf-8").splitlines()]
    assert [row["steps"] for row in log] == [2, 3]
    for part in ("model", "average"):
        moved = (second[part]["lm_head.bias"] - first[part]["lm_head.bias"]).abs()
        assert 0 < moved.max().item() < 0.01
    assert {int(state["step"]) for state in second["optimiser"]["state"].values()} == {3}
