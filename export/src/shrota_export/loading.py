"""Loads a checkpoint with transformers, entirely from its folder."""

from typing import Any

import torch
import transformers
from transformers import Wav2Vec2CTCTokenizer, Wav2Vec2FeatureExtractor

from shrota_export.checkpoint import ARCHITECTURES, Checkpoint
from shrota_export.errors import CheckpointError

UNUSED_WEIGHTS = ("masked_spec_embed",)
"""Weights that only training uses."""


def load_model(checkpoint: Checkpoint) -> Any:
    """The CTC model in float32 and evaluation mode, with attention written out ("eager").

    Raises:
        CheckpointError: if the weights cannot be read or do not fill the model.
    """
    transformers.logging.disable_progress_bar()  # it counts tensors, in milliseconds
    architecture = getattr(transformers, ARCHITECTURES[checkpoint.config["model_type"]])
    try:
        model, report = architecture.from_pretrained(
            checkpoint.folder,
            dtype=torch.float32,
            attn_implementation="eager",
            local_files_only=True,
            weights_only=True,
            output_loading_info=True,
        )
    except Exception as error:  # whatever broken weights raise: safetensors, pickle and shape errors
        raise CheckpointError(checkpoint.name, f"its weights cannot be loaded: {_first_line(error)}") from error
    missing = sorted(key for key in report["missing_keys"] if not key.endswith(UNUSED_WEIGHTS))
    if missing:
        more = f" and {len(missing) - 3} more" if len(missing) > 3 else ""  # noqa: PLR2004 - enough to recognise
        raise CheckpointError(checkpoint.name, f"its weights lack {', '.join(missing[:3])}{more}")
    return model.eval().requires_grad_(requires_grad=False)


def load_feature_extractor(checkpoint: Checkpoint) -> Any:
    """What turns audio into the model's input in Hugging Face's pipeline.

    Raises:
        CheckpointError: if its file is broken.
    """
    return _load_described(checkpoint, Wav2Vec2FeatureExtractor, "feature extractor")


def load_tokenizer(checkpoint: Checkpoint) -> Any:
    """The tokenizer that names the tokens.

    Raises:
        CheckpointError: if its files are broken.
    """
    return _load_described(checkpoint, Wav2Vec2CTCTokenizer, "tokenizer")


def _load_described(checkpoint: Checkpoint, kind: Any, name: str) -> Any:
    try:
        return kind.from_pretrained(checkpoint.folder, local_files_only=True)
    except Exception as error:  # whatever a broken or foreign file raises
        raise CheckpointError(checkpoint.name, f"its {name} cannot be loaded: {_first_line(error)}") from error


def _first_line(error: BaseException) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[0]
