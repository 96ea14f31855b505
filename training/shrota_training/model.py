"""The architecture of `models/hindi-small`, and how a checkpoint of it is written."""

import argparse
import json
import shutil
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors.torch import save_file
from transformers import (
    Wav2Vec2Config,
    Wav2Vec2CTCTokenizer,
    Wav2Vec2FeatureExtractor,
    Wav2Vec2ForCTC,
    Wav2Vec2Processor,
)

VOCAB_SIZE = 68
HEAD_SIZE = 64


@dataclass(frozen=True)
class Shape:
    """The sizes that were chosen between."""

    width: int = 320
    layers: int = 7
    feed_forward: int = 1280
    extractor: tuple[int, ...] = (128, 128, 192, 256, 256, 256, 256)

    @classmethod
    def parse(cls, text: str) -> "Shape":
        """Read WIDTHxLAYERSxFEED-FORWARD[:CHANNELS,...], with the channels of the seven convolutions.

        Raises:
            argparse.ArgumentTypeError: The text has another form.
        """
        sizes, _, channels = text.partition(":")
        try:
            width, layers, feed_forward = map(int, sizes.split("x"))
            extractor = tuple(map(int, channels.split(","))) if channels else cls.extractor
        except ValueError as error:
            message = f"{text}: not WIDTHxLAYERSxFEED-FORWARD[:CHANNELS,...]"
            raise argparse.ArgumentTypeError(message) from error
        return cls(width, layers, feed_forward, extractor)


def make_config(
    conv_dim: tuple[int, ...] = Shape.extractor,
    hidden_size: int = Shape.width,
    layers: int = Shape.layers,
    intermediate_size: int = Shape.feed_forward,
) -> Wav2Vec2Config:
    """Return IndicWav2Vec-Hindi's configuration at a size that two CPU cores run many times faster than real time.

    Stride 320 and receptive field 400 are those of wav2vec 2.0 (https://arxiv.org/abs/2006.11477, section 4.2); the
    first layers of the extractor, which run at up to 3,200 frames a second, are narrow, since they would take most of
    the time.
    """
    return Wav2Vec2Config(
        vocab_size=VOCAB_SIZE,
        hidden_size=hidden_size,
        num_hidden_layers=layers,
        num_attention_heads=max(1, hidden_size // HEAD_SIZE),
        intermediate_size=intermediate_size,
        conv_dim=conv_dim,
        conv_kernel=(10, 3, 3, 3, 3, 2, 2),
        conv_stride=(5, 2, 2, 2, 2, 2, 2),
        conv_bias=True,
        feat_extract_norm="layer",
        do_stable_layer_norm=True,
        num_conv_pos_embeddings=64,
        num_conv_pos_embedding_groups=16,
        hidden_dropout=0.1,
        attention_dropout=0.1,
        activation_dropout=0.1,
        feat_proj_dropout=0.0,
        final_dropout=0.1,
        layerdrop=0.0,
        apply_spec_augment=True,
        mask_time_prob=0.05,
        mask_time_length=10,
        mask_feature_prob=0.02,
        mask_feature_length=24,
        ctc_loss_reduction="mean",
        ctc_zero_infinity=True,
        pad_token_id=0,
        bos_token_id=1,
        eos_token_id=2,
    )


def count_parameters(model: torch.nn.Module) -> int:
    """Return the number of a model's parameters."""
    return sum(parameter.numel() for parameter in model.parameters())


def save_checkpoint(model: Wav2Vec2ForCTC, vocab_path: Path, folder: Path) -> None:
    """Write a checkpoint in Hugging Face format with float16 weights, and the processor that belongs to it."""
    folder.mkdir(parents=True, exist_ok=True)
    config = model.config.to_dict() | {"architectures": ["Wav2Vec2ForCTC"], "dtype": "float32"}
    Wav2Vec2Config.from_dict(config).save_pretrained(folder)
    state = {name: tensor.detach().cpu().half().contiguous() for name, tensor in model.state_dict().items()}
    save_file(state, folder / "model.safetensors", metadata={"format": "pt"})
    if vocab_path.resolve() != (folder / "vocab.json").resolve():
        shutil.copyfile(vocab_path, folder / "vocab.json")
    tokenizer = Wav2Vec2CTCTokenizer(
        str(folder / "vocab.json"),
        unk_token="<unk>",  # noqa: S106 - a token of the vocabulary
        pad_token="<pad>",  # noqa: S106 - a token of the vocabulary
        bos_token="<s>",  # noqa: S106 - a token of the vocabulary
        eos_token="</s>",  # noqa: S106 - a token of the vocabulary
        word_delimiter_token="|",  # noqa: S106 - a token of the vocabulary
    )
    extractor = Wav2Vec2FeatureExtractor(
        feature_size=1, sampling_rate=16_000, padding_value=0.0, do_normalize=True, return_attention_mask=True
    )
    Wav2Vec2Processor(feature_extractor=extractor, tokenizer=tokenizer).save_pretrained(folder)
    # What transformers 5 keeps in processor_config.json, in the files where other tools and older versions look.
    extractor.save_pretrained(folder)
    special = {"bos_token": "<s>", "eos_token": "</s>", "unk_token": "<unk>", "pad_token": "<pad>"}
    (folder / "special_tokens_map.json").write_text(json.dumps(special, indent=2) + "\n", encoding="utf-8")
    for file in folder.iterdir():
        file.chmod(0o644)


def load_vocab(path: Path) -> dict[str, int]:
    """Return token → id of a vocab.json."""
    vocab: dict[str, int] = json.loads(path.read_text(encoding="utf-8"))
    return vocab
