# mypy: disallow-subclassing-any=False
"""PyTorch compiled, on a module that takes seconds to compile."""

import os
import sysconfig
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from shrota_export.checkpoint import find_checkpoint
from shrota_export.errors import ReportError
from shrota_export.report import compiled
from shrota_export.report.compiled import CACHE, batches_to_compile, cache_in, compile_engine, compile_module, why_not
from shrota_export.report.material import Material
from shrota_export.report.variants import make_variants, run_pytorch
from shrota_testing.checkpoints import make_audio

RATE = 16000


class Frames(nn.Module):
    """One convolution: [B, 1, T] -> [B, F, 4]."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv1d(1, 4, 400, stride=320)

    def forward(self, audio: Tensor) -> Tensor:
        """Frames of 20 ms."""
        return nn.functional.gelu(self.conv(audio)).transpose(1, 2)


class Mixer(nn.Module):
    """One of two layers alike."""

    def __init__(self) -> None:
        super().__init__()
        self.linear = nn.Linear(4, 4)

    def forward(self, hidden: Tensor) -> Tensor:
        """[B, F, 4] -> [B, F, 4]."""
        return hidden + torch.tanh(self.linear(hidden))


class Small(nn.Module):
    """With the lists of layers that an engine has."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.feature_extractor = nn.ModuleList([Frames()])
        self.layers = nn.ModuleList([Mixer(), Mixer()])

    def forward(self, audio: Tensor, num_samples: Tensor) -> tuple[Tensor, Tensor]:
        """Log-probabilities, and how many frames are audio."""
        valid = torch.arange(audio.shape[1], dtype=torch.int32).unsqueeze(0) < num_samples
        hidden = (audio * valid).unsqueeze(1)
        for layer in (*self.feature_extractor, *self.layers):
            hidden = layer(hidden)
        return torch.log_softmax(hidden, dim=-1), (num_samples - 400) // 320 + 1


def test_the_batches_that_are_compiled() -> None:
    """As long whatever audio there is: what is timed later must find its graph."""
    for seconds in (1, 10):
        batches = batches_to_compile(np.ones((1, seconds * RATE), np.float32), RATE)
        assert [audio.shape for audio, _ in batches] == [(1, 80_000), (2, 80_000), (1, 32_000), (1, 16_000)]
        assert all((audio == 1).all() and (lengths == audio.shape[1]).all() for audio, lengths in batches)


def test_a_compiled_module_gives_the_same_for_any_shape_and_is_not_compiled_again(tmp_path: Path) -> None:
    compiler = why_not()
    if compiler is not None:
        pytest.skip(compiler)
    module = Small().eval()
    plain = run_pytorch(module)
    before = torch._dynamo.utils.counters["stats"]["unique_graphs"]
    with cache_in(tmp_path):
        engine = compile_module(module, make_audio(5 * RATE)[None], RATE)
    assert any(tmp_path.rglob("*.so"))
    graphs = torch._dynamo.utils.counters["stats"]["unique_graphs"] - before
    assert 4 <= graphs <= 6  # both kinds of layers, for one row and for more, and what is short
    for rows, samples in ((1, 16_000), (1, 33_333), (2, 50_000), (5, 48_001), (1, 200_000), (1, 400)):
        audio = np.stack([make_audio(samples, seed) for seed in range(rows)])
        lengths = np.full((rows, 1), samples, np.int32)
        for found, expected in zip(engine(audio, lengths), plain(audio, lengths), strict=True):
            np.testing.assert_allclose(found, expected, atol=1e-5)
    assert torch._dynamo.utils.counters["stats"]["unique_graphs"] == before + graphs
    assert type(module.layers[0]) is Mixer  # what PyTorch runs uncompiled is left as it was


def test_the_cache_is_where_it_was_afterwards(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted() -> None:
        with cache_in(tmp_path):
            assert os.environ[CACHE] == str(tmp_path)
            raise KeyboardInterrupt

    for before in (None, "elsewhere"):
        monkeypatch.delenv(CACHE, raising=False)
        if before is not None:
            monkeypatch.setenv(CACHE, before)
        with pytest.raises(KeyboardInterrupt):
            interrupted()
        assert os.environ.get(CACHE) == before


def test_what_the_machine_lacks_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert why_not({"PATH": str(tmp_path)}) == (
        "torch.compile needs a C++ compiler, and there is no g++: apt-get install g++, or set CXX"
    )
    assert "there is no clang-99" in str(why_not({"PATH": os.environ["PATH"], "CXX": "clang-99"}))
    monkeypatch.setattr(sysconfig, "get_path", lambda _name: str(tmp_path))
    there = tmp_path / "c++"
    there.touch(0o755)
    assert "Python.h" in str(why_not({"PATH": str(tmp_path), "CXX": "c++"}))


@pytest.fixture
def material(tiny_checkpoint: Path, speech: Path, tmp_path: Path) -> Material:
    return Material(find_checkpoint(str(tiny_checkpoint)), speech, tmp_path, is_random=True, seconds=1)


def test_a_compilation_that_takes_too_long_is_given_up(material: Material, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(compiled, "why_not", lambda: None)
    with pytest.raises(ReportError, match=r"^it was given up after 0\.01 s$"):
        compile_engine(material, 0.01)


def test_without_a_compiler_the_others_are_measured(material: Material, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_arguments: Any) -> Any:
        raise AssertionError("nothing is compiled")

    monkeypatch.setattr(compiled, "why_not", lambda: "there is no g++")
    monkeypatch.setattr(compiled, "measure_process", fail)
    found, missing = make_variants(material)
    assert missing["PyTorch fp32, compiled"] == "there is no g++"
    assert {"PyTorch fp32", "ONNX Runtime fp32", "ONNX Runtime int8"} <= found.keys()
