"""Say how fast a set of recordings is spoken, in letters a second, and how much of it is silence.

Signs count as letters, and so do the spaces between words, because the model writes them too.
"""

import argparse
from pathlib import Path

import numpy as np

from shrota_training.command import require, run
from shrota_training.other_voices import Speech, read
from shrota_training.rows import read_rows
from shrota_training.silence import RATE, trimmed


def paces(lines: list[tuple[str, Speech]]) -> list[float]:
    """Return letters a second of each recording, from its first sound to its last."""
    return [len(text) / (trimmed(speech, kept_s=0).size / RATE) for text, speech in lines]


def main() -> None:
    """Print the pace of a manifest's recordings, or of the training recordings in a folder of speech."""
    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument("manifest", type=Path, help="manifest.jsonl, or speech-NAME.jsonl beside its .raw")
    arguments = parser.parse_args()
    require(arguments.manifest)
    rows = read_rows(arguments.manifest, "text")
    lines, whole = [], 0.0
    if arguments.manifest.with_suffix(".raw").exists():
        raw, offset = np.fromfile(arguments.manifest.with_suffix(".raw"), dtype=np.int16), 0
        for row in rows:
            if not row["development"]:
                lines.append((row["text"], raw[offset : offset + row["samples"]]))
                whole += row["samples"] / RATE
            offset += row["samples"]
    else:
        for row in rows:
            if (speech := read(arguments.manifest.parent / row["audio"])) is not None:
                lines.append((row["text"], speech))
                whole += row["duration_s"]
    if not lines:
        raise SystemExit(f"pace: no recording of {arguments.manifest} is for training and has sound in it")
    found = paces(lines)
    sounding = sum(trimmed(speech, kept_s=0).size for _, speech in lines) / RATE
    low, lower, middle, upper, high = np.percentile(found, [5, 25, 50, 75, 95])
    print(
        f"{len(found)} recordings, letters a second: median {middle:.1f}, half of them {lower:.1f} to {upper:.1f}, "
        f"nine of ten {low:.1f} to {high:.1f}; silence at the ends: {1 - sounding / whole:.0%}"
    )


if __name__ == "__main__":
    run("pace", main)
