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
from shrota_training.recogniser import Recogniser, frames_of, greedy, losses_of, spans
from shrota_training.train import set_dropout

VOCAB = ROOT / "models" / "hindi-small" / "vocab.json"


@pytest.fixture(scope="module")
def model() -> Wav2Vec2ForCTC:
    """A model with the architecture of the bundled checkpoint, but narrow."""
    torch.manual_seed(0)
    config = make_config(conv_dim=(16,) * 7, hidden_size=64, layers=3, intermediate_size=64)
    return Wav2Vec2ForCTC(config).eval()


def test_the_way_through_the_model_is_that_of_hugging_face(model: Wav2Vec2ForCTC) -> None:
    samples = torch.tensor([16_000, 9_000, 12_345])
    audio = torch.randn(3, 16_000)
    attention_mask = (torch.arange(16_000) < samples[:, None]).long()
    frames = frames_of(model, samples)
    assert frames.tolist() == [49, 27, 38]
    with torch.inference_mode():
        expected = torch.log_softmax(model(audio * attention_mask, attention_mask=attention_mask).logits, -1)
        result, _ = Recogniser(model).eval()(audio * attention_mask, frames, torch.tensor(0.0))
    for row, other, count in zip(result, expected, frames.tolist(), strict=True):
        torch.testing.assert_close(row[:count], other[:count], atol=1e-5, rtol=0)


def test_the_loss_is_that_of_hugging_face(model: Wav2Vec2ForCTC, monkeypatch: pytest.MonkeyPatch) -> None:
    samples, tokens = torch.tensor([16_000, 9_000]), [[5, 6, 4, 7], [8, 8, 9]]
    audio = torch.randn(2, 16_000)
    attention_mask = (torch.arange(16_000) < samples[:, None]).long()
    labels = torch.tensor([[5, 6, 4, 7], [8, 8, 9, -100]])
    batch = Batch(
        audio * attention_mask, samples, torch.tensor([t for line in tokens for t in line]), torch.tensor([4, 3])
    )
    frames = frames_of(model, samples)
    with torch.inference_mode():
        log_probs = Recogniser(model).eval()(batch.audio, frames, torch.tensor(0.0))
        result, middle = losses_of(log_probs, frames, batch)
        middle_as_last, _ = losses_of(log_probs.flip(0), frames, batch)
        monkeypatch.setattr(model.config, "ctc_loss_reduction", "sum")
        expected = model(batch.audio, attention_mask=attention_mask, labels=labels).loss / 7
    torch.testing.assert_close(result, expected, atol=1e-4, rtol=0)
    torch.testing.assert_close(middle_as_last, middle)
    assert abs(float(middle - result)) > 1e-3


def test_the_middle_guess_is_that_of_the_layers_up_to_the_middle(model: Wav2Vec2ForCTC) -> None:
    audio, samples = torch.randn(1, 8_000), torch.tensor([8_000])
    shorter = Wav2Vec2ForCTC(model.config).eval()
    shorter.load_state_dict(model.state_dict())
    with torch.inference_mode():
        _, middle = Recogniser(model).eval()(audio, frames_of(model, samples), torch.tensor(0.0))
        shorter.wav2vec2.encoder.layers = shorter.wav2vec2.encoder.layers[:2]
        expected = torch.log_softmax(shorter(audio).logits, -1)
    torch.testing.assert_close(middle, expected, atol=1e-5, rtol=0)


def test_every_gradient_is_that_of_hugging_face(model: Wav2Vec2ForCTC) -> None:
    audio, samples = torch.randn(2, 12_000), torch.tensor([12_000, 7_000])
    attention_mask = (torch.arange(12_000) < samples[:, None]).long()
    frames = frames_of(model, samples)
    weights = torch.randn(2, int(frames.max()), model.config.vocab_size)
    weights[1, int(frames[1]) :] = 0

    def gradients(log_probs: torch.Tensor) -> dict[str, torch.Tensor]:
        model.zero_grad()
        (log_probs * weights).sum().backward()
        return {n: p.grad.clone() for n, p in model.named_parameters() if p.grad is not None}

    expected = gradients(torch.log_softmax(model(audio * attention_mask, attention_mask=attention_mask).logits, -1))
    result = gradients(Recogniser(model).eval()(audio * attention_mask, frames, torch.tensor(0.0))[0])
    assert result.keys() == expected.keys()
    for name, gradient in result.items():
        torch.testing.assert_close(gradient, expected[name], atol=1e-3, rtol=1e-3, msg=name)


def test_dropout_is_set_where_there_is_some() -> None:
    small = Wav2Vec2ForCTC(make_config(conv_dim=(16,) * 7, hidden_size=64, layers=1, intermediate_size=64))
    set_dropout(small, 0.03)
    shares = {module.p for module in small.modules() if isinstance(module, torch.nn.Dropout)}
    assert shares == {0.0, 0.03}  # features are projected without
    assert small.wav2vec2.encoder.layers[0].attention.dropout == 0.0
    assert small.config.hidden_dropout == 0.1


def test_masks_are_spans_of_about_the_share() -> None:
    torch.manual_seed(0)
    hidden = torch.zeros(200, 1000, 4)
    masked = spans(hidden, torch.tensor(0.06))
    assert masked.float().mean().item() == pytest.approx(0.06, abs=0.005)
    edges = torch.nonzero(torch.diff(masked[0].int()))[:, 0]
    assert not masked[0, 0]
    assert [int(end - start) for start, end in zip(edges[::2], edges[1::2], strict=False)] == [10] * (len(edges) // 2)
    assert not spans(hidden, torch.tensor(0.0)).any()


def test_greedy_joins_repeats_and_leaves_special_tokens_out() -> None:
    path = torch.tensor([[0, 5, 5, 0, 5, 4, 4, 3, 6, 6]])
    log_probs = torch.nn.functional.one_hot(path, 12).float()
    assert greedy(log_probs, torch.tensor([10])) == [[5, 5, 4, 6]]
    assert greedy(log_probs, torch.tensor([3])) == [[5]]


def run(*arguments: str, processes: int = 1, code: int = 0) -> str:
    """Run the training script; return what it printed."""
    launch = [sys.executable, "-m"]
    if processes > 1:
        launch += ["torch.distributed.run", "--standalone", "--nproc-per-node", str(processes), "-m"]
    environment = {
        **os.environ,
        "PYTHONPATH": str(ROOT / "training"),
        "OMP_NUM_THREADS": "1",
        "GLOO_SOCKET_IFNAME": "lo",
        "CUDA_VISIBLE_DEVICES": "",
    }
    command = [*launch, "shrota_training.train", *arguments]
    done = subprocess.run(command, env=environment, cwd=ROOT, capture_output=True, text=True, timeout=240, check=False)
    assert done.returncode == code, done.stderr[-3000:]
    return done.stdout + (done.stderr if code else "")


def test_two_processes_train_together_and_one_goes_on_from_there(tmp_path: Path) -> None:
    random = np.random.default_rng(0)
    lines = [(text, random.normal(0, 2000, 24_000).astype(np.int16)) for text in ("यह", "वह क्या", "अब", "कल नहीं")]
    write(iter(lines), "noise", tmp_path / "speech")
    index = tmp_path / "speech" / "speech-noise.jsonl"
    rows = [json.loads(line) for line in index.read_text(encoding="utf-8").splitlines()]
    rows[-1]["development"] = True
    index.write_text("\n".join(json.dumps(row) for row in rows), encoding="utf-8")
    usual = ["--speech", str(tmp_path / "speech"), "--vocab", str(VOCAB), "--output", str(tmp_path / "run")]
    usual += ["--batch-s", "4", "--muon-rate", "2e-3", "--minutes", "60"]
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
    adam, muon = second["optimisers"]
    assert {int(state["step"]) for state in adam["state"].values()} == {3}
    assert len(muon["state"]) == 7 * 6
    other_start = [*usual, "--from-checkpoint", str(VOCAB.parent)]
    assert "began with random weights, not with" in run(*other_start, code=1)
    finished = [*usual[:-1], "0.0001"]
    assert "is over: name another --output" in run(*finished, code=1)
