"""Average the weights of a checkpoint and of the same one trained further.

A checkpoint that is trained further on little speech gains there and loses elsewhere; the mean of the two keeps most of
the gain and loses less (Wortsman et al., "Robust fine-tuning of zero-shot models", CVPR 2022).
"""

import argparse
import shutil
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file


def main() -> None:
    """Write a checkpoint whose weights are the mean of two others', in float16."""
    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument("first", type=Path)
    parser.add_argument("second", type=Path)
    parser.add_argument("--output", type=Path, required=True)
    arguments = parser.parse_args()
    first, second = (load_file(folder / "model.safetensors") for folder in (arguments.first, arguments.second))
    mean = {name: ((tensor.float() + second[name].float()) / 2).to(torch.float16) for name, tensor in first.items()}
    arguments.output.mkdir(parents=True, exist_ok=True)
    for path in arguments.first.iterdir():
        if path.suffix == ".json" and path.resolve().parent != arguments.output.resolve():
            shutil.copy(path, arguments.output)
    save_file(mean, arguments.output / "model.safetensors", metadata={"format": "pt"})


if __name__ == "__main__":
    main()
