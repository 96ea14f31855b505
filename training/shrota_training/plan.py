"""Decide what is spoken for training, by whom and how fast: one shuffled list, of which any beginning is a fair mix.

Sources of text: phrases of the corpus, two or three phrases in a row, transcripts of the training stations, random
words of a frequency list and walks from word to word (so that spelling is learnt from sound and not only from known
sentences), and numbers.
Voices: Kokoro's other Hindi voices most often, its voices of other languages, and blends of two voices, which are new
speakers. Nothing that split.json holds out, or that comes close to it, is in the list.
"""

import argparse
import gzip
import json
import random
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from itertools import pairwise
from pathlib import Path

import numpy as np

from shrota_training.command import run
from shrota_training.kokoro import HINDI_VOICES, PhonemeTable, load_voice, phonemes
from shrota_training.numbers import BELOW_HUNDRED, hindi_number
from shrota_training.rows import read_rows
from shrota_training.split import Split
from shrota_training.text import HeldOut, is_clean, normalise, read_phrases, vocabulary_letters

SEED = 7
DEVELOPMENT_PHRASES = 120
STYLE_ROWS = 220  # longer utterances take the last of these rows; styles change little with length
SPEEDS = (0.85, 1.7)
"""Kokoro speaks 13 letters a second at speed 1, nine of ten of the radio's recordings have 13 to 19 (`pace`)"""


@dataclass(frozen=True)
class Utterance:
    """One text, its tokens, and the voice: style = (1 - blend) * voice + blend * other."""

    text: str
    tokens: list[int]
    voice: str
    other: str
    blend: float
    speed: float
    development: bool


def station_texts(manifest: Path, split: Split, letters: frozenset[str]) -> list[str]:
    """Return the clean transcripts of the radio stations that may be trained on."""
    rows = read_rows(manifest, "station", "text")
    texts = [normalise(row["text"]) for row in rows if split.is_training_station(row["station"])]
    return [text for text in texts if is_clean(text, letters)]


def word_lists(words: Sequence[str], count: int, rng: random.Random) -> Iterator[str]:
    """Yield `count` lines of three to eight random words; every word comes equally often."""
    bag: list[str] = []
    for _ in range(count):
        size = rng.randint(3, 8)
        while len(bag) < size:
            bag += rng.sample(list(words), len(words))
        yield " ".join(bag.pop() for _ in range(size))


def walks(phrases: Sequence[str], count: int, rng: random.Random) -> Iterator[str]:
    """Yield new lines that sound like Hindi: each word follows the one before it somewhere in the phrases."""
    followers: dict[str, list[str]] = defaultdict(list)
    for phrase in phrases:
        for word, following in pairwise(phrase.split()):
            followers[word].append(following)
    starts = sorted(followers)
    for _ in range(count):
        line, size = [rng.choice(starts)], rng.randint(4, 12)
        while len(line) < size and followers[line[-1]]:
            line.append(rng.choice(followers[line[-1]]))
        if len(line) > 2:
            yield " ".join(line)


def number_lines(words: Sequence[str], count: int, rng: random.Random) -> Iterator[str]:
    """Yield lines of numbers between random words."""
    for _ in range(count):
        numbers = [hindi_number(int(10 ** rng.uniform(0, 7))), rng.choice(BELOW_HUNDRED)]
        yield " ".join([rng.choice(words), numbers[0], rng.choice(words), numbers[1], rng.choice(words)])


def frequency_list(letters: frozenset[str]) -> list[str]:
    """Return the clean Hindi words of `wordfreq`, most frequent first."""
    from wordfreq import top_n_list  # noqa: PLC0415 - only this function needs the package

    return [word for word in map(normalise, top_n_list("hi", 60_000)) if " " not in word and is_clean(word, letters)]


def rows_of(lines: Sequence[str], count: int, rng: random.Random) -> Iterator[tuple[str, ...]]:
    """Yield two or three lines that follow each other in their text."""
    for _ in range(count):
        start, size = rng.randrange(len(lines) - 3), rng.choice((2, 2, 3))
        yield tuple(lines[start : start + size])


def draw_voice(hindi: Sequence[str], others: Sequence[str], rng: random.Random) -> tuple[str, str, float]:
    """Draw a voice: Hindi for 45 %, of another language for 30 %, a blend for 25 %."""
    lot = rng.random()
    if lot < 0.75:
        voice = rng.choice(hindi if lot < 0.45 else others)
        return voice, voice, 0.0
    return rng.choice(hindi), rng.choice([*hindi, *others]), round(rng.uniform(0.2, 0.8), 2)


def make_lines(
    phrases: list[str], radio: list[str], words: list[str], size: float, seed: int = 0
) -> list[tuple[str, ...]]:
    """Return the lines to speak, each a tuple of phrases; `size` scales how many."""
    rng = random.Random(f"{SEED} {seed}" if seed else SEED)
    lines: list[tuple[str, ...]] = [(phrase,) for phrase in phrases for _ in range(max(1, round(3 * size)))]
    lines += rows_of(phrases, int(7_000 * size), rng)
    lines += [(text,) for text in radio for _ in range(max(1, round(6 * size)))]
    lines += [(line,) for line in word_lists(words, int(24_000 * size), rng)]
    lines += [(line,) for line in walks([*phrases, *radio], int(20_000 * size), rng)]
    lines += [(line,) for line in number_lines(words[:4_000], int(2_500 * size), rng)]
    rng.shuffle(lines)
    return lines


def write_plan(
    lines: list[tuple[str, ...]],
    phrases: Sequence[str],
    table: PhonemeTable,
    voices: list[str],
    path: Path,
    *,
    held: HeldOut,
    seed: int = 0,
) -> int:
    """Write the list of utterances as gzipped JSON lines; return how many.

    What `held` refuses is left out. Some of the corpus's phrases are kept for development, the same for every seed, and
    what comes close to them is left out of training.
    """
    rng = random.Random(SEED + 1)
    hindi, others = [v for v in voices if v in HINDI_VOICES], [v for v in voices if v not in HINDI_VOICES]
    distinct = sorted({phrase for line in lines for phrase in line})
    spoken = dict(zip(distinct, phonemes(distinct), strict=True))
    pool = sorted({phrase for phrase in phrases if len(phrase.split()) >= 4})
    kept = set(rng.sample(pool, min(len(pool) // 2, DEVELOPMENT_PHRASES)))
    development = HeldOut(sorted(kept))
    if seed:
        rng = random.Random(f"{SEED + 1} {seed}")
    count = 0
    with gzip.open(path, "wt", encoding="utf-8") as file:
        for line in lines:
            known = len(line) > 1 or line[0] not in kept
            if held.leaks(" ".join(line)) or (known and development.leaks(" ".join(line))):
                continue
            voice, other, blend = draw_voice(hindi, others, rng)
            tokens = table.tokens(rng.choice((". ", ", ")).join(spoken[p] for p in line) + rng.choice((".", ".", "")))
            speed = round(rng.uniform(*SPEEDS), 2)
            utterance = Utterance(" ".join(line), tokens, voice, other, blend, speed, not known)
            file.write(json.dumps(asdict(utterance), ensure_ascii=False, separators=(",", ":")) + "\n")
            count += 1
    return count


def main() -> None:
    """Write plan.jsonl.gz, and voices.npz with the styles that it needs."""
    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument("--data", type=Path, required=True, help="folder of hindi_text.tsv and air_hindi")
    parser.add_argument("--voices", type=Path, required=True, help="folder of Kokoro's *.bin voices")
    parser.add_argument("--phonemes", type=Path, required=True, help="Kokoro's vocab.json")
    parser.add_argument("--vocab", type=Path, required=True, help="the checkpoint's vocab.json")
    parser.add_argument("--output", type=Path, required=True)
    parser.add_argument("--size", type=float, default=1.0, help="share of the full list")
    parser.add_argument("--seed", type=int, default=0, help="another number draws other rows, voices and speeds")
    arguments = parser.parse_args()
    split, letters = Split.load(), vocabulary_letters(arguments.vocab)
    held = split.held_out(arguments.data / "air_hindi" / "manifest.jsonl")
    phrases = held.training_lines(phrase for _, phrase in read_phrases(arguments.data / "hindi_text.tsv", letters))
    radio = held.training_lines(station_texts(arguments.data / "air_hindi" / "manifest.jsonl", split, letters))
    if arguments.size < 1:
        phrases, radio = phrases[: int(len(phrases) * arguments.size)], radio[:5]
    lines = make_lines(phrases, radio, frequency_list(letters), arguments.size, arguments.seed)
    voices = split.training_voices(sorted(path.stem for path in arguments.voices.glob("*.bin")))
    arguments.output.mkdir(parents=True, exist_ok=True)
    table = PhonemeTable(arguments.phonemes)
    count = write_plan(
        lines, phrases, table, voices, arguments.output / "plan.jsonl.gz", held=held, seed=arguments.seed
    )
    styles = {name: load_voice(arguments.voices, name)[:STYLE_ROWS].astype(np.float16) for name in voices}
    np.savez_compressed(arguments.output / "voices.npz", **styles)
    print(f"{count} utterances from {len(phrases)} phrases and {len(radio)} transcripts, {len(voices)} voices")


if __name__ == "__main__":
    run("plan", main)
