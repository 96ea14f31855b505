"""A tiny KenLM language model in ARPA format."""

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
