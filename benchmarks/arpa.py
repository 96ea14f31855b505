"""A language model without some of its words."""

import shutil
from collections.abc import Collection, Iterable, Iterator
from pathlib import Path


def n_grams(lines: Iterable[str]) -> Iterator[tuple[int, tuple[str, ...], str]]:
    """The n-grams of an ARPA file in its order: how many words, the words, and the line without its end."""
    order = 0
    for line in lines:
        if line.startswith("\\"):
            name = line.strip()
            order = int(name[1 : -len("-grams:")]) if name.endswith("-grams:") else 0
        elif order and line.strip():
            text = line.rstrip("\n")
            yield order, tuple(text.split("\t")[1].split(" ")), text


def without(arpa: str, words: Collection[str]) -> str:
    """An ARPA model without the n-grams that hold one of these words.

    The others keep their probabilities and backoff weights, so those of a context may add up to less than 1.
    """
    unwanted = frozenset(words)
    sections: dict[int, list[str]] = {}
    for order, spoken, line in n_grams(arpa.split("\n")):
        kept = sections.setdefault(order, [])
        if unwanted.isdisjoint(spoken):
            kept.append(line)
    parts = ["\\data\\", *(f"ngram {order}={len(lines)}" for order, lines in sections.items()), ""]
    for order, lines in sections.items():
        parts += [f"\\{order}-grams:", *lines, ""]
    return "\n".join([*parts, "\\end\\", ""])


def decoder_without(folder: Path, words: Collection[str], target: Path) -> Path:
    """Writes vocabulary and language model of a ``ctc_decoder`` to ``target``, these words unknown to the model."""
    shutil.copy(folder / "vocab.json", target)
    text = (folder / "lm.arpa").read_text(encoding="utf-8")
    (target / "lm.arpa").write_text(without(text, words), encoding="utf-8")
    listed = (folder / "lm.words").read_text(encoding="utf-8").split()
    (target / "lm.words").write_text("\n".join(word for word in listed if word not in words) + "\n", encoding="utf-8")
    return target
