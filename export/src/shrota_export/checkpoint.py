"""Finds a checkpoint and says, without loading PyTorch, whether it can be exported."""

import hashlib
import json
import re
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from shrota_export.errors import CheckpointError
from shrota_export.hub import download

ARCHITECTURES = {
    "wav2vec2": "Wav2Vec2ForCTC",
    "hubert": "HubertForCTC",
    "wavlm": "WavLMForCTC",
    "data2vec-audio": "Data2VecAudioForCTC",
    "unispeech": "UniSpeechForCTC",
    "unispeech-sat": "UniSpeechSatForCTC",
}
"""Model types of ``config.json`` that can be exported, and the class that each needs."""

WEIGHT_FILES = (
    "model.safetensors",
    "model.safetensors.index.json",
    "pytorch_model.bin",
    "pytorch_model.bin.index.json",
)
"""In the order of preference: safetensors cannot run code."""

DESCRIPTION_FILES = (
    "config.json",
    "preprocessor_config.json",
    "processor_config.json",
    "vocab.json",
    "tokenizer_config.json",
    "special_tokens_map.json",
    "added_tokens.json",
    "lm.arpa.gz",
)
EXTRACTOR = "Wav2Vec2FeatureExtractor"
HUB_NAME = re.compile(r"[\w-][\w.-]*/[\w.-]+|[\w-][\w.-]*")


@dataclass(frozen=True)
class Checkpoint:
    """A checkpoint folder whose description was found good; the weights have not been looked at."""

    name: str
    """as the user gave it"""
    folder: Path
    config: dict[str, Any]
    """content of ``config.json``"""
    extractor: dict[str, Any]
    """the feature extractor's part of ``preprocessor_config.json`` or ``processor_config.json``"""
    weights: tuple[Path, ...]

    @property
    def language_model(self) -> Path | None:
        """A KenLM model of its language, if it brings one."""
        path = self.folder / "lm.arpa.gz"
        return path if path.is_file() else None

    @property
    def sample_rate(self) -> int:
        """Hz; 16000 where it is not said, as in transformers."""
        return int(self.extractor.get("sampling_rate", 16000))

    @cached_property
    def sha256(self) -> str:
        """Hash over the names and contents of all files that the export depends on."""
        described = [self.folder / name for name in DESCRIPTION_FILES if (self.folder / name).is_file()]
        return _hash_files([*described, *self.weights])


def find_checkpoint(name: str) -> Checkpoint:
    """A local folder, or a name on the Hugging Face hub (which is downloaded into its cache).

    Raises:
        CheckpointError: if it is not a checkpoint that can be exported.
        HubError: if it is no local folder and the hub does not give it.
    """
    folder = Path(name).expanduser()
    if not folder.is_dir():
        if folder.exists():
            raise CheckpointError(name, "it is a file; give the checkpoint's folder")
        if not HUB_NAME.fullmatch(name):
            raise CheckpointError(name, "there is no such folder")
        folder = download(name, DESCRIPTION_FILES)
    config = _read_json(name, folder / "config.json", "it is not a Hugging Face checkpoint")
    _check_architecture(name, config)
    extractor = _read_extractor(name, folder)
    if not (folder / "vocab.json").is_file():
        raise CheckpointError(name, "it has no tokenizer vocabulary (vocab.json), so its tokens are unknown")
    return Checkpoint(name, folder, config, extractor, _find_weights(name, folder))


def _check_architecture(name: str, config: dict[str, Any]) -> None:
    model_type = config.get("model_type")
    architectures = config.get("architectures") or []
    described = ", ".join(architectures) or f"model type {model_type!r}"
    if model_type not in ARCHITECTURES:
        known = ", ".join(ARCHITECTURES.values())
        raise CheckpointError(name, f"it is {described}; only raw-waveform CTC models can be exported ({known})")
    if architectures and ARCHITECTURES[model_type] not in architectures:
        raise CheckpointError(name, f"it is {described}, without a CTC head; it needs {ARCHITECTURES[model_type]}")
    if config.get("add_adapter"):
        raise CheckpointError(name, "its convolutional adapter (add_adapter) is not supported")


def _read_extractor(name: str, folder: Path) -> dict[str, Any]:
    if (folder / "processor_config.json").is_file():
        nested = _read_json(name, folder / "processor_config.json", "").get("feature_extractor")
        if isinstance(nested, dict):
            return _check_extractor(name, nested)
    missing = "without it nobody knows whether audio is normalised"
    return _check_extractor(name, _read_json(name, folder / "preprocessor_config.json", missing))


def _check_extractor(name: str, extractor: dict[str, Any]) -> dict[str, Any]:
    kind = extractor.get("feature_extractor_type", EXTRACTOR)
    if kind != EXTRACTOR or extractor.get("feature_size", 1) != 1:
        raise CheckpointError(name, f"it takes features of {kind}, not the raw waveform")
    return extractor


def _find_weights(name: str, folder: Path) -> tuple[Path, ...]:
    for file in WEIGHT_FILES:
        path = folder / file
        if not path.is_file():
            continue
        if path.suffix != ".json":
            return (path,)
        index = _read_json(name, path, "")
        shards = sorted({folder / str(shard) for shard in index.get("weight_map", {}).values()})
        missing = [shard.name for shard in shards if not shard.is_file()]
        if missing or not shards:
            raise CheckpointError(name, f"weights named by {file} are missing: {', '.join(missing) or 'all'}")
        return (path, *shards)
    raise CheckpointError(name, "it has no weights (model.safetensors or pytorch_model.bin)")


def _read_json(name: str, path: Path, if_missing: str) -> dict[str, Any]:
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise CheckpointError(name, f"it has no {path.name}; {if_missing}") from None
    except (OSError, ValueError) as error:
        raise CheckpointError(name, f"{path.name} cannot be read: {error}") from error
    if not isinstance(content, dict):
        raise CheckpointError(name, f"{path.name} does not hold a JSON object")
    return content


def _hash_files(paths: Iterable[Path]) -> str:
    def digest(path: Path) -> str:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()

    ordered = sorted(paths)
    with ThreadPoolExecutor() as pool:
        lines = [f"{path.name} {value}\n" for path, value in zip(ordered, pool.map(digest, ordered), strict=True)]
    return hashlib.sha256("".join(lines).encode()).hexdigest()
