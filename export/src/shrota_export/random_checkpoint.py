"""Checkpoints of a published architecture with random weights, for measuring speed and looking at the graph."""

import json
import math
import tempfile
from dataclasses import asdict, dataclass
from importlib.resources import files
from pathlib import Path
from typing import Any

from shrota_export.errors import RandomCheckpointError
from shrota_export.progress import step
from shrota_export.repository import give_usual_mode

RECIPE = "random.json"
"""File in the folder that says how it was made."""
LOGIT_DEVIATION = 3.0
"""Standard deviation of the logits: neither nearly uniform nor a single certain token."""


@dataclass(frozen=True)
class Shape:
    """Where a twin is smaller than what was published; None keeps the published number."""

    layers: int | None = None
    hidden_size: int | None = None
    intermediate_size: int | None = None
    heads: int | None = None
    conv_dim: int | None = None


def published_file(like: str, name: str) -> str:
    """Content of a file of a published checkpoint (``config.json``, ``vocab.json``, ``preprocessor_config.json``)."""
    return files("shrota_export").joinpath("published", like.replace("-", "_"), name).read_text(encoding="utf-8")


def make_config(like: str, shape: Shape) -> dict[str, Any]:
    """The published ``config.json``, with another shape.

    A narrower twin keeps 64 features a head as published, or 16 where it is too narrow for that, and four times its
    width in the feed-forward layers. Weights are scaled so that activations have the published width's deviation.
    """
    config: dict[str, Any] = json.loads(published_file(like, "config.json"))
    published_width = config["hidden_size"]
    width = shape.hidden_size or published_width
    config["num_hidden_layers"] = shape.layers or config["num_hidden_layers"]
    config["hidden_size"] = config["output_hidden_size"] = width
    config["intermediate_size"] = shape.intermediate_size or width * config["intermediate_size"] // published_width
    head_width = published_width // config["num_attention_heads"]
    config["num_attention_heads"] = shape.heads or max(width // head_width, math.gcd(width, 4))
    config["num_conv_pos_embedding_groups"] = math.gcd(width, config["num_conv_pos_embedding_groups"])
    config["initializer_range"] *= math.sqrt(published_width / width)
    if shape.conv_dim:
        config["conv_dim"] = [shape.conv_dim] * len(config["conv_dim"])
    if width % config["num_attention_heads"]:
        raise RandomCheckpointError(
            like, f"a width of {width} does not divide into {config['num_attention_heads']} heads"
        )
    return config


def is_made(output: Path, like: str, shape: Shape, seed: int) -> bool:
    """Whether the folder holds just this checkpoint already."""
    try:
        made = json.loads((output / RECIPE).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return False
    return bool(made == _recipe(like, shape, seed)) and (output / "model.safetensors").is_file()


def write_random_checkpoint(output: Path, like: str, shape: Shape, seed: int, *, force: bool = False) -> None:
    """Makes the folder ``output``, whole or not at all.

    Raises:
        RandomCheckpointError: if the folder is there and not ``force``, cannot be written, or the shape is impossible.
    """
    config = make_config(like, shape)
    if output.exists() and not (output / RECIPE).is_file():
        raise RandomCheckpointError(
            str(output), "it is there already and was not made by this command; name another folder"
        )
    if output.exists() and not force:
        raise RandomCheckpointError(str(output), "it is there already and is another one; --force replaces it")
    try:
        output.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=".shrota-random-", dir=output.parent) as staging:
            folder = Path(staging) / "new"
            folder.mkdir()
            _write(folder, like, config, seed)
            text = json.dumps(_recipe(like, shape, seed), indent=2) + "\n"
            (folder / RECIPE).write_text(text, encoding="utf-8")
            if output.exists():
                output.rename(Path(staging) / "old")
            folder.rename(output)
    except OSError as error:
        raise RandomCheckpointError(str(output), f"it cannot be written: {error.strerror or error}") from error


def _write(folder: Path, like: str, config: dict[str, Any], seed: int) -> None:
    import torch  # noqa: PLC0415 - seconds, after everything cheap has been checked
    from transformers import Wav2Vec2Config, Wav2Vec2ForCTC, logging  # noqa: PLC0415

    logging.disable_progress_bar()

    with (
        step(f"make random weights ({config['num_hidden_layers']} layers, {config['hidden_size']} wide)"),
        torch.no_grad(),
    ):
        torch.manual_seed(seed)
        model = Wav2Vec2ForCTC(Wav2Vec2Config.from_dict(config))
        model.lm_head.weight.normal_(std=LOGIT_DEVIATION / math.sqrt(config["hidden_size"]))
    with step(f"write {sum(weight.numel() for weight in model.parameters()) * 4 / 1e6:.0f} MB"):
        model.save_pretrained(folder)
        give_usual_mode(folder / "model.safetensors")
        # the published description rather than transformers' own, which has other defaults in every version
        (folder / "config.json").write_text(json.dumps(config, indent=2) + "\n", encoding="utf-8")
        (folder / "vocab.json").write_text(published_file(like, "vocab.json"), encoding="utf-8")
        extractor = json.loads(published_file(like, "preprocessor_config.json"))
        extractor["processor_class"] = "Wav2Vec2Processor"  # published with a language model, which is not here
        (folder / "preprocessor_config.json").write_text(json.dumps(extractor, indent=2) + "\n", encoding="utf-8")


def _recipe(like: str, shape: Shape, seed: int) -> dict[str, Any]:
    return {"like": like, "shape": asdict(shape), "seed": seed}
