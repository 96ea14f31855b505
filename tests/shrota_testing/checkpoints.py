"""Tiny checkpoints of every family that can be exported, and audio for them."""

import json
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

TOKENS = ["<pad>", "<s>", "</s>", "<unk>", "|", *"अआइईउऊएऐओऔकखगघचछजझ"]
SMALL: dict[str, Any] = {
    "hidden_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "intermediate_size": 48,
    "conv_dim": [16] * 7,
    "vocab_size": len(TOKENS),
    "num_conv_pos_embeddings": 16,
    "num_conv_pos_embedding_groups": 4,
    "initializer_range": 0.1,
    "pad_token_id": 0,
    "attn_implementation": "eager",
}
LAYER_NORM: dict[str, Any] = {"feat_extract_norm": "layer", "conv_bias": True}
FAMILIES: dict[str, tuple[str, dict[str, Any]]] = {
    "wav2vec2": ("Wav2Vec2", {**LAYER_NORM, "do_stable_layer_norm": True}),
    "wav2vec2 with language adapters": (
        "Wav2Vec2",
        {**LAYER_NORM, "do_stable_layer_norm": True, "adapter_attn_dim": 8},
    ),
    "wav2vec2 without stable layer norm": ("Wav2Vec2", LAYER_NORM),
    "wav2vec2 with group norm": ("Wav2Vec2", {"feat_extract_norm": "group"}),
    "hubert": ("Hubert", {**LAYER_NORM, "do_stable_layer_norm": True}),
    "hubert with batch norm": ("Hubert", {"conv_pos_batch_norm": True, "feat_proj_layer_norm": False}),
    "wavlm": ("WavLM", {}),
    "wavlm with stable layer norm": ("WavLM", {**LAYER_NORM, "do_stable_layer_norm": True}),
    "data2vec": ("Data2VecAudio", {"num_conv_pos_embeddings": 3, "conv_pos_kernel_size": 7}),
    "unispeech": ("UniSpeech", {}),
    "unispeech-sat": ("UniSpeechSat", {}),
}


def make_model(family: str, seed: int = 0, **changes: Any) -> Any:
    """A tiny CTC model of Hugging Face's, random, with log-probabilities that are far from uniform.

    ``changes`` are fields of its configuration.
    """
    import torch
    import transformers

    name, options = FAMILIES[family]
    torch.manual_seed(seed)
    config = getattr(transformers, f"{name}Config")(**{**SMALL, **options, **changes})
    model = getattr(transformers, f"{name}ForCTC")(config).eval()
    with torch.no_grad():
        model.lm_head.weight.mul_(8)
        norm = getattr(model.base_model.encoder.pos_conv_embed, "batch_norm", None)
        if norm is not None:  # as after training, not the identity that it starts as
            norm.running_mean.normal_()
            norm.bias.normal_()
    return model


def write_checkpoint(folder: Path, family: str = "wav2vec2", *, normalize: bool = True, **changes: Any) -> Path:
    """A tiny checkpoint as ``save_pretrained`` leaves it."""
    import transformers

    transformers.logging.disable_progress_bar()
    make_model(family, **changes).save_pretrained(folder)
    describe(folder, normalize=normalize)
    return folder


def describe(folder: Path, *, normalize: bool = True) -> None:
    """Writes the files of the tokenizer and of the feature extractor."""
    vocabulary = {token: index for index, token in enumerate(TOKENS)}
    (folder / "vocab.json").write_text(json.dumps(vocabulary, ensure_ascii=False), encoding="utf-8")
    extractor = {
        "feature_extractor_type": "Wav2Vec2FeatureExtractor",
        "do_normalize": normalize,
        "sampling_rate": 16000,
        "feature_size": 1,
        "padding_value": 0,
        "return_attention_mask": True,
    }
    (folder / "preprocessor_config.json").write_text(json.dumps(extractor), encoding="utf-8")


def make_audio(num_samples: int, seed: int = 0) -> NDArray[np.float32]:
    """Gliding tones that come and go, over noise and an offset: [num_samples]."""
    random = np.random.default_rng(seed)
    time = np.arange(num_samples) / 16000
    envelope = np.abs(np.sin(2 * np.pi * (3 + seed) * time))
    tone = np.sin(2 * np.pi * (150 + 40 * seed + 30 * np.sin(5 * time)) * time)
    audio: NDArray[np.float32] = (0.02 + 0.3 * envelope * tone + random.normal(0, 0.01, num_samples)).astype(np.float32)
    return audio
