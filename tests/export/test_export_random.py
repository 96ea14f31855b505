"""``shrota export random``: a published architecture with random weights."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors import safe_open
from transformers import AutoFeatureExtractor, AutoProcessor, AutoTokenizer, Wav2Vec2ForCTC

from shrota_export.cli import export
from shrota_export.errors import RandomCheckpointError
from shrota_export.random_checkpoint import Shape, make_config, published_file
from shrota_testing.checkpoints import make_audio

LIKE = "indicwav2vec-hindi"


def export_random(output: Path, *options: str) -> None:
    export.main(["random", "--like", LIKE, "--output", str(output), *options], standalone_mode=False)


@pytest.fixture(scope="module")
def twin(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("random") / "twin"
    export_random(folder, "--layers", "3", "--hidden-size", "64", "--conv-dim", "32")
    return folder


def test_the_published_architecture_is_the_default() -> None:
    published = json.loads(published_file(LIKE, "config.json"))
    assert make_config(LIKE, Shape()) == published
    assert (published["num_hidden_layers"], published["hidden_size"], published["vocab_size"]) == (24, 1024, 68)


@pytest.mark.parametrize(("width", "heads"), [(64, 4), (128, 4), (512, 8), (1024, 16)])
def test_a_narrower_twin_keeps_the_proportions(width: int, heads: int) -> None:
    config = make_config(LIKE, Shape(hidden_size=width))
    assert config["num_attention_heads"] == heads
    assert config["intermediate_size"] == 4 * width
    assert config["initializer_range"] * np.sqrt(width) == pytest.approx(0.02 * np.sqrt(1024))
    assert config["conv_dim"] == [512] * 7


def test_it_loads_without_a_network(twin: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    model, report = Wav2Vec2ForCTC.from_pretrained(twin, local_files_only=True, output_loading_info=True)
    assert not report["missing_keys"]
    assert (len(model.wav2vec2.encoder.layers), model.lm_head.out_features) == (3, 68)
    tokenizer = AutoTokenizer.from_pretrained(twin, local_files_only=True)
    assert tokenizer.get_vocab() == json.loads(published_file(LIKE, "vocab.json"))
    assert AutoFeatureExtractor.from_pretrained(twin, local_files_only=True).do_normalize
    assert type(AutoProcessor.from_pretrained(twin, local_files_only=True)).__name__ == "Wav2Vec2Processor"


def test_log_probabilities_are_neither_uniform_nor_certain(twin: Path) -> None:
    model = Wav2Vec2ForCTC.from_pretrained(twin).eval()
    audio = make_audio(32000)
    audio = (audio - audio.mean()) / audio.std()
    with torch.inference_mode():
        log_probs = torch.log_softmax(model(torch.from_numpy(audio)[None]).logits[0], dim=-1).numpy()
    best = log_probs.max(axis=1)
    assert np.log(1 / 68) + 0.7 < best.mean() < -0.05
    assert log_probs.std(axis=0).mean() > 0.1


def test_the_seed_decides(twin: Path, tmp_path: Path) -> None:
    def head(folder: Path) -> torch.Tensor:
        with safe_open(folder / "model.safetensors", "pt") as file:
            return file.get_tensor("lm_head.weight")

    shape = ("--layers", "3", "--hidden-size", "64", "--conv-dim", "32")
    export_random(tmp_path / "same", *shape)
    export_random(tmp_path / "other", *shape, "--seed", "1")
    assert torch.equal(head(twin), head(tmp_path / "same"))
    assert not torch.equal(head(twin), head(tmp_path / "other"))


def test_what_is_there_is_kept_unless_forced(twin: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    output = tmp_path / "mine"
    shape = ("--layers", "1", "--hidden-size", "16", "--conv-dim", "8")
    export_random(output, *shape)
    made = (output / "model.safetensors").stat().st_mtime_ns
    export_random(output, *shape)
    assert "already there" in capsys.readouterr().err
    assert (output / "model.safetensors").stat().st_mtime_ns == made
    with pytest.raises(RandomCheckpointError, match="--force replaces it"):
        export_random(output, *shape, "--seed", "1")
    export_random(output, *shape, "--seed", "1", "--force")
    assert json.loads((output / "random.json").read_text(encoding="utf-8"))["seed"] == 1
    assert [path.name for path in tmp_path.iterdir()] == ["mine"]


def test_a_folder_of_something_else_is_never_replaced(tmp_path: Path) -> None:
    (tmp_path / "thesis.txt").write_text("years of work", encoding="utf-8")
    with pytest.raises(RandomCheckpointError, match="was not made by this command"):
        export_random(tmp_path, "--layers", "1", "--hidden-size", "16", "--conv-dim", "8", "--force")
    assert (tmp_path / "thesis.txt").exists()


def test_a_width_that_does_not_divide(tmp_path: Path) -> None:
    with pytest.raises(RandomCheckpointError, match="does not divide into 5 heads"):
        export_random(tmp_path / "odd", "--hidden-size", "64", "--heads", "5")
    assert not list(tmp_path.iterdir())
