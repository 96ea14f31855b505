"""Average the weights of a checkpoint and of the same one trained further, in the share that suits development speech.

A checkpoint that is trained further on little speech gains there and loses elsewhere; a mean of the two keeps most of
the gain and loses less (Wortsman et al., "Robust fine-tuning of zero-shot models", CVPR 2022).
"""

import argparse
import shutil
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor
from transformers import Wav2Vec2ForCTC

from shrota_training.batches import BatchMaker, Source, load_speech
from shrota_training.model import load_vocab
from shrota_training.train import development_error

SHARES = (0.0, 0.25, 0.5, 0.75, 1.0)
"""How much of the checkpoint that was trained further."""


def mean(first: dict[str, Tensor], second: dict[str, Tensor], share: float) -> dict[str, Tensor]:
    """Return (1 - share) * first + share * second, in float16."""
    return {name: torch.lerp(tensor.float(), second[name].float(), share).half() for name, tensor in first.items()}


def main() -> None:
    """Write the mean of two checkpoints' weights whose character error rate on development speech is least."""
    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument("first", type=Path)
    parser.add_argument("second", type=Path, help="the first one, trained further")
    parser.add_argument("--development", type=Path, required=True, help="folder of speech that is for development")
    parser.add_argument("--output", type=Path, required=True)
    arguments = parser.parse_args()
    first, second = (load_file(folder / "model.safetensors") for folder in (arguments.first, arguments.second))
    speech = load_speech([Source(arguments.development)], load_vocab(arguments.first / "vocab.json"), "cpu")
    if not speech.development:
        raise SystemExit(
            f"{arguments.development} holds no speech for development: select_plan --development chooses it"
        )
    (clips,) = speech.development.values()
    model = Wav2Vec2ForCTC.from_pretrained(arguments.first, dtype=torch.float32)
    errors = {}
    for share in SHARES:
        model.load_state_dict(mean(first, second, share))
        errors[share] = development_error(model, BatchMaker(speech.samples, 60.0, seed=0).plain(clips))
        print(f"share {share:.2f}: development CER {100 * errors[share]:.2f} %", flush=True)
    arguments.output.mkdir(parents=True, exist_ok=True)
    for path in arguments.first.iterdir():
        if path.suffix == ".json" and path.resolve().parent != arguments.output.resolve():
            shutil.copy(path, arguments.output)
    best = min(errors, key=lambda share: errors[share])
    save_file(mean(first, second, best), arguments.output / "model.safetensors", metadata={"format": "pt"})


if __name__ == "__main__":
    main()
