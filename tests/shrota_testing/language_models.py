"""Tiny KenLM language models."""

import base64
import zlib
from collections.abc import Mapping
from pathlib import Path


def arpa(words: Mapping[str, float]) -> str:
    """Words and their log10-probabilities, and one bigram, because KenLM takes no less."""
    unigrams = {"<unk>": -5.0, "<s>": 0.0, "</s>": -1.0, **words}
    lines = [f"{value:.4f}\t{word}\t0.0000" for word, value in unigrams.items()]
    bigrams = ["-3.0000\t<s> </s>"]
    counts = [f"ngram 1={len(lines)}", f"ngram 2={len(bigrams)}"]
    parts = ["\\data\\", *counts, "", "\\1-grams:", *lines, "", "\\2-grams:", *bigrams, "", "\\end\\", ""]
    return "\n".join(parts)


def write_arpa(path: Path, words: Mapping[str, float]) -> Path:
    """Writes such a model."""
    path.write_text(arpa(words), encoding="utf-8")
    return path


BINARY_WORDS = ["नाम", "काम"]
"""Of the binary, in its order."""


def write_binary(path: Path) -> Path:
    """Writes what KenLM's ``build_binary trie`` makes of two words and two bigrams."""
    path.write_bytes(zlib.decompress(base64.b64decode(BINARY)))
    return path


BINARY = (
    "eNrLzU0sUMjJVcgoKSmw0tfPzkhNTMtMzUnRS87P1U/OT0lVSMsvyk0sUShLLSrOzM9TMOViQIAGeyCxnxFI/AcCkAgjVIYJTB6w"
    "Z4KKgTArihwEsEDpgjrFvZZtpQz/vjzdfHzVBpbtNoWX+nsSRLlyvn+sLX6QjdCx4ADIYiQjGGbNnLkPiXsAld+wH50PIhgZUAET"
    "A3YAVPfD19j4MjuyoE1pXrYdg02xHcODJSseLNn3YMk6IGsqlGWjD5QAALbaSnw="
)
