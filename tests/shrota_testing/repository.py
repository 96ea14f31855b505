"""A copy of the model repository, filled with the tiny engine."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path

from google.protobuf import text_format
from tritonclient.grpc.model_config_pb2 import ModelConfig

from scripts.repository import EXPORTED
from shrota_testing.engines import RECEPTIVE_FIELD, STRIDE, write_tiny_engine

ROOT = Path(__file__).resolve().parents[2]
LETTERS = "ँंःअआइईउऊऋएऐऑओऔकखगघङचछजझञटठडढणतथदधनपफबभमयरलवशषसह़ािीुूृॅेैॉोौ्ळ"
TOKENS = ["<pad>", "<s>", "</s>", "<unk>", "|", *LETTERS]


def copy_repository(folder: Path) -> Path:
    """Copies the configurations and Python models as they are before any export, whatever has been exported since."""
    shutil.copytree(ROOT / "model_repository", folder, ignore=shutil.ignore_patterns(*EXPORTED))
    for engine in folder.glob("acoustic_*/config.pbtxt"):
        set_vocabulary_size(engine, len(TOKENS))
    return folder


def make_repository(folder: Path, seed: int = 0, ballast: int = 0) -> Path:
    """Copies the configurations and Python models into ``folder``, adds a tiny ``model.onnx`` and both JSON files."""
    copy_repository(folder)
    write_tiny_engine(folder / "acoustic_onnx" / "1" / "model.onnx", len(TOKENS), seed, ballast)
    vocabulary = {
        "tokens": TOKENS,
        "blank": "<pad>",
        "word_delimiter": "|",
        "special_tokens": ["<pad>", "<s>", "</s>", "<unk>"],
        "frame_seconds": STRIDE / 16000,
    }
    text = json.dumps(vocabulary, ensure_ascii=False, indent=2)
    (folder / "ctc_decoder" / "1" / "vocab.json").write_text(text, encoding="utf-8")
    frontend = {"sample_rate": 16000, "stride": STRIDE, "receptive_field": RECEPTIVE_FIELD, "normalize": False}
    (folder / "acoustic" / "1" / "frontend.json").write_text(json.dumps(frontend, indent=2), encoding="utf-8")
    return folder


def edit(config: Path, change: Callable[[ModelConfig], None]) -> None:
    """Rewrites a ``config.pbtxt`` through the protobuf."""
    message = text_format.Parse(config.read_text(encoding="utf-8"), ModelConfig())
    change(message)
    config.write_text(text_format.MessageToString(message, as_utf8=True), encoding="utf-8")


def set_vocabulary_size(config: Path, size: int) -> None:
    """Sets how many tokens an engine tells apart."""

    def change(message: ModelConfig) -> None:
        for output in message.output:
            if output.name == "LOG_PROBS":
                output.dims[-1] = size

    edit(config, change)


def set_parameter(config: Path, name: str, value: str) -> None:
    """Sets one of the model's parameters."""

    def change(message: ModelConfig) -> None:
        message.parameters[name].string_value = value

    edit(config, change)


def set_queue_size(config: Path, size: int) -> None:
    """Sets how many requests Triton holds for the model before it refuses more."""

    def change(message: ModelConfig) -> None:
        message.dynamic_batching.default_queue_policy.max_queue_size = size

    edit(config, change)


def set_instances(config: Path, count: int) -> None:
    """Sets how many processes serve the model."""

    def change(message: ModelConfig) -> None:
        message.instance_group[0].count = count

    edit(config, change)
