"""What is not a checkpoint that can be exported is refused in one line, before anything slow happens."""

import json
import pickle
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import huggingface_hub
import numpy as np
import pytest
import torch
from huggingface_hub.errors import LocalEntryNotFoundError
from safetensors.torch import load_file, save_file

from shrota_export.checkpoint import find_checkpoint
from shrota_export.errors import CheckpointError, HubError
from shrota_export.loading import load_model, load_tokenizer
from shrota_export.vocabulary import read_vocabulary
from shrota_testing.checkpoints import TOKENS


@pytest.fixture
def folder(tiny_checkpoint: Path, tmp_path: Path) -> Path:
    """A copy of a good checkpoint, to be spoilt."""
    return Path(shutil.copytree(tiny_checkpoint, tmp_path / "checkpoint"))


def change(path: Path, **values: Any) -> None:
    """Sets values of a JSON file; None removes one."""
    content = {**json.loads(path.read_text(encoding="utf-8")), **values}
    content = {key: value for key, value in content.items() if value is not None}
    path.write_text(json.dumps(content, ensure_ascii=False), encoding="utf-8")


def refusal(folder: Path) -> str:
    """Why it is refused, without its weights having been read."""
    with pytest.raises(CheckpointError) as caught:
        find_checkpoint(str(folder))
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_a_good_one_is_found(folder: Path) -> None:
    found = find_checkpoint(str(folder))
    assert found.config["model_type"] == "wav2vec2"
    assert [path.name for path in found.weights] == ["model.safetensors"]


@pytest.mark.parametrize(
    ("model_type", "architecture"),
    [
        ("whisper", "WhisperForConditionalGeneration"),
        ("bert", "BertForMaskedLM"),
        ("wav2vec2-bert", "Wav2Vec2BertForCTC"),
        ("wav2vec2-conformer", "Wav2Vec2ConformerForCTC"),
        ("sew", "SEWForCTC"),
    ],
)
def test_another_architecture(folder: Path, model_type: str, architecture: str) -> None:
    change(folder / "config.json", model_type=model_type, architectures=[architecture])
    assert f"it is {architecture}; only raw-waveform CTC models" in refusal(folder)


@pytest.mark.parametrize(
    "architecture", ["Wav2Vec2Model", "Wav2Vec2ForPreTraining", "Wav2Vec2ForSequenceClassification"]
)
def test_no_ctc_head(folder: Path, architecture: str) -> None:
    change(folder / "config.json", architectures=[architecture])
    assert f"it is {architecture}, without a CTC head; it needs Wav2Vec2ForCTC" in refusal(folder)


def test_convolutional_adapter(folder: Path) -> None:
    change(folder / "config.json", add_adapter=True)
    assert "add_adapter" in refusal(folder)


def test_features_that_are_not_the_waveform(folder: Path) -> None:
    change(folder / "preprocessor_config.json", feature_extractor_type="SeamlessM4TFeatureExtractor", feature_size=80)
    assert "features of SeamlessM4TFeatureExtractor, not the raw waveform" in refusal(folder)


@pytest.mark.parametrize(
    ("missing", "reason"),
    [
        ("config.json", "no config.json; it is not a Hugging Face checkpoint"),
        ("vocab.json", "no tokenizer vocabulary"),
        ("preprocessor_config.json", "no preprocessor_config.json; without it nobody knows"),
        ("model.safetensors", "it has no weights"),
    ],
)
def test_missing_files(folder: Path, missing: str, reason: str) -> None:
    (folder / missing).unlink()
    assert reason in refusal(folder)


@pytest.mark.parametrize("content", ["", "{", "[]", "\x00"], ids=["empty", "cut off", "a list", "binary"])
def test_a_configuration_that_is_not_one(folder: Path, content: str) -> None:
    (folder / "config.json").write_text(content, encoding="utf-8")
    assert "config.json" in refusal(folder)


def test_a_missing_shard(folder: Path) -> None:
    (folder / "model.safetensors").unlink()
    index = {"weight_map": {"lm_head.weight": "model-00001-of-00002.safetensors"}}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index), encoding="utf-8")
    assert "model-00001-of-00002.safetensors" in refusal(folder)


@pytest.mark.parametrize("name", ["no/such/folder/here", "./checkpoint-of-mine", "/nowhere/at/all", "बिना नाम"])
def test_a_path_that_does_not_exist(name: str) -> None:
    with pytest.raises(CheckpointError, match="there is no such folder"):
        find_checkpoint(name)


def test_a_file_instead_of_the_folder(folder: Path) -> None:
    assert "give the checkpoint's folder" in refusal(folder / "model.safetensors")


def test_an_unreachable_hub(monkeypatch: pytest.MonkeyPatch) -> None:
    def unreachable(*_: object, **__: object) -> str:
        raise LocalEntryNotFoundError("no network\nand a second line")

    monkeypatch.setattr(huggingface_hub, "snapshot_download", unreachable)
    with pytest.raises(HubError, match="the hub cannot be reached") as caught:
        find_checkpoint("ai4bharat/indicwav2vec-hindi")
    assert "\n" not in str(caught.value)


def test_a_name_on_the_hub_brings_pickles_only_without_safetensors(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[list[str]] = []

    def download(name: str, allow_patterns: list[str]) -> str:
        assert name == "ai4bharat/indicwav2vec-hindi"
        asked.append(allow_patterns)
        return str(folder)

    monkeypatch.setattr(huggingface_hub, "snapshot_download", download)
    assert find_checkpoint("ai4bharat/indicwav2vec-hindi").folder == folder
    assert not any("bin" in pattern for pattern in asked[0])
    assert len(asked) == 1


def load(folder: Path) -> Any:
    return load_model(find_checkpoint(str(folder)))


def test_half_precision_weights_become_float32(folder: Path) -> None:
    weights = {name: weight.half() for name, weight in load_file(folder / "model.safetensors").items()}
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    change(folder / "config.json", dtype="float16")
    assert {weight.dtype for weight in load(folder).parameters()} == {torch.float32}


def test_pickled_weights_are_read_without_running_code(folder: Path) -> None:
    weights = load_file(folder / "model.safetensors")
    (folder / "model.safetensors").unlink()
    torch.save(weights, folder / "pytorch_model.bin")
    np.testing.assert_array_equal(load(folder).lm_head.weight, weights["lm_head.weight"])


def test_pickled_weights_that_are_code_are_refused(folder: Path, tmp_path: Path) -> None:
    class Attack:
        def __reduce__(self) -> tuple[Callable[..., None], tuple[Path]]:
            return Path.touch, (tmp_path / "attacked",)

    (folder / "model.safetensors").unlink()
    (folder / "pytorch_model.bin").write_bytes(pickle.dumps({"lm_head.weight": Attack()}))
    with pytest.raises(CheckpointError, match="weights cannot be loaded"):
        load(folder)
    assert not (tmp_path / "attacked").exists()


def test_truncated_weights(folder: Path) -> None:
    content = (folder / "model.safetensors").read_bytes()
    (folder / "model.safetensors").write_bytes(content[: len(content) // 2])
    with pytest.raises(CheckpointError, match="weights cannot be loaded") as caught:
        load(folder)
    assert "\n" not in str(caught.value)


def test_weights_without_the_head(folder: Path) -> None:
    weights = load_file(folder / "model.safetensors")
    del weights["lm_head.weight"]
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(CheckpointError, match=r"weights lack lm_head\.weight"):
        load(folder)


def test_weights_of_another_shape(folder: Path) -> None:
    change(folder / "config.json", intermediate_size=64)
    with pytest.raises(CheckpointError, match="weights cannot be loaded"):
        load(folder)


def test_the_hash_follows_every_file_that_matters(folder: Path) -> None:
    before = find_checkpoint(str(folder)).sha256
    (folder / "README.md").write_text("a model card", encoding="utf-8")
    assert find_checkpoint(str(folder)).sha256 == before
    change(folder / "preprocessor_config.json", do_normalize=False)
    assert find_checkpoint(str(folder)).sha256 != before


def read(folder: Path, size: int) -> Any:
    found = find_checkpoint(str(folder))
    return read_vocabulary(found.name, load_tokenizer(found), size)


def test_vocabulary_in_the_order_of_the_models_outputs(folder: Path) -> None:
    vocabulary = read(folder, len(TOKENS))
    assert vocabulary.tokens == TOKENS
    assert vocabulary.as_json(frame_seconds=0.02) == {
        "tokens": vocabulary.tokens,
        "blank": "<pad>",
        "word_delimiter": "|",
        "special_tokens": ["<pad>", "<s>", "</s>", "<unk>"],
        "frame_seconds": 0.02,
    }


def test_tokens_that_the_model_does_not_have_are_left_out(folder: Path) -> None:
    letters = {"<pad>": 0, "|": 1, "क": 2}
    (folder / "vocab.json").write_text(json.dumps(letters), encoding="utf-8")
    vocabulary = read(folder, 3)
    assert vocabulary.tokens == ["<pad>", "|", "क"]
    assert vocabulary.special_tokens == ["<pad>"]


def test_an_output_without_a_token(folder: Path) -> None:
    with pytest.raises(CheckpointError, match="has 99 outputs, but its tokenizer has no token of id"):
        read(folder, 99)


def test_no_blank(folder: Path) -> None:
    (folder / "vocab.json").write_text(json.dumps({"|": 0, "क": 1, "<unk>": 2}), encoding="utf-8")
    with pytest.raises(CheckpointError, match="blank"):
        read(folder, 3)


def test_a_vocabulary_that_is_none(folder: Path) -> None:
    (folder / "vocab.json").write_text("क ख ग", encoding="utf-8")
    with pytest.raises(CheckpointError, match="tokenizer cannot be loaded"):
        read(folder, 3)
