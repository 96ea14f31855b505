"""Build the decoder's language model: word n-grams of the training text, over a list of Hindi words by frequency.

KenLM's `lmplz` estimates the n-grams (interpolated modified Kneser-Ney, Heafield et al. 2013). Its unigrams are then
mixed with the frequencies of `wordfreq`, so that words outside the small corpus are not impossible, and the longer
n-grams follow exactly. Order and share are those with the least perplexity on the development station's transcripts.
The held-out phrases and the test stations' transcripts are only measured on.
"""

import argparse
import gzip
import math
import subprocess
import tempfile
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from shrota_training.command import require, run
from shrota_training.numbers import BELOW_HUNDRED, GROUPS
from shrota_training.plan import station_texts
from shrota_training.rows import read_rows
from shrota_training.split import Split
from shrota_training.text import HeldOut, is_clean, normalise, read_phrases, vocabulary_letters

START, END, UNKNOWN = "<s>", "</s>", "<unk>"
ORDERS = (2, 3, 4)
SHARES = (0.2, 0.4, 0.6, 0.8)
FILE_NAME = "lm.arpa.gz"
MAX_BYTES = 6_000_000
NO_LMPLZ = "{} not found: `make -C training lm` builds it from KenLM's sources, or name one with --lmplz"
Ngram = tuple[str, ...]


@dataclass(frozen=True)
class BackoffModel:
    """An ARPA model: log10 probabilities by length (from one word on), and log10 back-off weights of contexts."""

    probabilities: list[dict[Ngram, float]]
    backoffs: dict[Ngram, float]

    @property
    def order(self) -> int:
        """The length of the longest n-grams."""
        return len(self.probabilities)

    def words(self) -> list[str]:
        """Return the words that can be decoded."""
        return [word for (word,) in self.probabilities[0] if word not in (START, END, UNKNOWN)]

    def log10(self, ngram: Ngram) -> float:
        """Return log10 of the probability of the last word, which must be listed, after the words before it."""
        table = self.probabilities[len(ngram) - 1]
        if ngram in table or len(ngram) == 1:
            return table[ngram]
        return self.backoffs.get(ngram[:-1], 0.0) + self.log10(ngram[1:])


@dataclass(frozen=True)
class Perplexity:
    """How well a model expects some lines: `tokens` are their known words and their ends, `words` are all words."""

    log10_sum: float
    tokens: int
    words: int
    unknown: int

    @property
    def value(self) -> float:
        """The perplexity of what is known, as KenLM's `query` gives it "excluding OOVs"."""
        return float(10 ** (-self.log10_sum / self.tokens))

    def __str__(self) -> str:
        share = 100 * self.unknown / self.words
        return f"perplexity {self.value:.1f}, out of vocabulary {share:.2f} % ({self.unknown}/{self.words})"


def parse_arpa(text: str) -> BackoffModel:
    """Read what `lmplz` or `format_arpa` wrote."""
    probabilities: list[dict[Ngram, float]] = []
    backoffs: dict[Ngram, float] = {}
    for line in text.splitlines():
        if line.endswith("-grams:"):
            probabilities.append({})
        elif "\t" in line:
            log10, words, *backoff = line.split("\t")
            ngram = tuple(words.split(" "))
            probabilities[-1][ngram] = float(log10)
            backoffs.update((ngram, float(weight)) for weight in backoff)
    return BackoffModel(probabilities, backoffs)


def format_arpa(model: BackoffModel) -> str:
    """Return the model as an ARPA file, sorted, with four decimals.

    All but the longest n-grams have a back-off weight, if only 0: pyctcdecode and ctc-beam-decoder take only words that
    have one for known.
    """
    lines = ["\\data\\", *(f"ngram {size}={len(table)}" for size, table in enumerate(model.probabilities, 1))]
    for size, table in enumerate(model.probabilities, 1):
        lines += ["", f"\\{size}-grams:"]
        for ngram in sorted(table):
            backoff = f"\t{model.backoffs.get(ngram, 0.0):.4f}" if size < model.order else ""
            lines.append(f"{table[ngram]:.4f}\t{' '.join(ngram)}{backoff}")
    return "\n".join([*lines, "", "\\end\\", ""])


def estimate(lines: Sequence[str], order: int, lmplz: str) -> BackoffModel:
    """Return the n-grams of some lines, estimated by KenLM.

    Raises:
        FileNotFoundError: lmplz is not installed.
    """
    text = "".join(f"{line}\n" for line in lines)
    with tempfile.TemporaryDirectory() as folder:
        command = [
            lmplz,
            "--order",
            str(order),
            "--memory",
            "100M",
            "--temp_prefix",
            f"{folder}/",
            "--discount_fallback",
        ]
        try:
            arpa = subprocess.run(command, input=text.encode(), capture_output=True, check=True).stdout
        except FileNotFoundError as error:
            raise FileNotFoundError(NO_LMPLZ.format(lmplz)) from error
        except subprocess.CalledProcessError as error:
            error.add_note(error.stderr.decode())
            raise
    return parse_arpa(arpa.decode())


def with_frequencies(model: BackoffModel, frequencies: Mapping[str, float], share: float) -> BackoffModel:
    """Mix a share of some words' relative frequencies into the unigrams, and so into everything that rests on them.

    In an interpolated model p(w | h) = a(w | h) + backoff(h) p(w | shorter h): when the shorter one changes, the longer
    one changes by its back-off weight times as much, and every context's probabilities still sum to 1. The unigram of a
    line's end stays as it was.
    """
    old = {word: 10**log10 for (word,), log10 in model.probabilities[0].items() if word != START}
    scale = (1 - old[END]) / math.fsum(frequencies.values())
    other = {word: scale * frequency for word, frequency in frequencies.items()} | {END: old[END]}
    mixed = {(word,): (1 - share) * old.get(word, 0.0) + share * other.get(word, 0.0) for word in old | other}
    unigrams: dict[Ngram, float] = {ngram: math.log10(probability) for ngram, probability in mixed.items()}
    unigrams[START,] = model.probabilities[0][START,]
    new = BackoffModel([unigrams], model.backoffs)
    for table in model.probabilities[1:]:
        longer = {}
        for ngram, log10 in table.items():
            change = 10 ** new.log10(ngram[1:]) - 10 ** model.log10(ngram[1:])
            longer[ngram] = math.log10(10**log10 + 10 ** model.backoffs[ngram[:-1]] * change)
        new.probabilities.append(longer)
    return new


def perplexity(model: BackoffModel, lines: Iterable[str]) -> Perplexity:
    """Measure a model on some lines. An unknown word counts as such, and as context for what follows."""
    log10_sum, tokens, words, unknown = 0.0, 0, 0, 0
    for line in lines:
        spelled = [word if (word,) in model.probabilities[0] else UNKNOWN for word in line.split()]
        sentence = (START, *spelled, END)
        for end in range(2, len(sentence) + 1):
            if sentence[end - 1] != UNKNOWN:
                log10_sum += model.log10(sentence[max(0, end - model.order) : end])
                tokens += 1
        words += len(spelled)
        unknown += spelled.count(UNKNOWN)
    return Perplexity(log10_sum, tokens, words, unknown)


def transcripts(data: Path, stations: Iterable[str], letters: frozenset[str]) -> list[str]:
    """Return the clean transcripts of some radio stations."""
    texts = [text for station, text in _station_rows(data) if station in stations]
    return [text for text in texts if is_clean(text, letters)]


def _station_rows(data: Path) -> list[tuple[str, str]]:
    rows = read_rows(data / "air_hindi" / "manifest.jsonl", "station", "text")
    return [(row["station"], normalise(row["text"])) for row in rows]


def training_text(data: Path, split: Split, letters: frozenset[str], guard: HeldOut) -> list[str]:
    """Return the phrases, and the transcripts of the training stations, that do not come close to held-out text."""
    phrases = [phrase for _, phrase in read_phrases(data / "hindi_text.tsv", letters)]
    return guard.training_lines([*phrases, *station_texts(data / "air_hindi" / "manifest.jsonl", split, letters)])


def word_frequencies(listed: Mapping[str, float], letters: frozenset[str], guard: HeldOut) -> dict[str, float]:
    """Return the clean words of a frequency list; number words that it lacks come with the rarest one's frequency."""
    frequencies: dict[str, float] = defaultdict(float)
    for word, frequency in listed.items():
        frequencies[normalise(word)] += frequency
    kept = guard.training_lines(word for word in frequencies if " " not in word and is_clean(word, letters))
    rarest = min(frequencies[word] for word in kept)
    numbers = guard.training_lines([*BELOW_HUNDRED, *(name for _, name in GROUPS)])
    return dict.fromkeys(numbers, rarest) | {word: frequencies[word] for word in kept}


def candidates(
    lines: Sequence[str], lists: Mapping[str, Mapping[str, float]], lmplz: str
) -> Iterator[tuple[str, BackoffModel]]:
    """Yield every model to choose from, with its description; all of them know the same words."""
    for order in ORDERS:
        model = estimate(lines, order, lmplz)
        for name, frequencies in lists.items():
            for share in SHARES:
                yield f"order {order}, {share} {name}", with_frequencies(model, frequencies, share)


def choose(models: Iterable[tuple[str, BackoffModel]], development: Sequence[str]) -> BackoffModel:
    """Print the perplexity of each model on the development text; return the best one."""
    best, least = None, math.inf
    for name, model in models:
        measured = perplexity(model, development)
        print(f"{name}: {sum(map(len, model.probabilities))} n-grams, development {measured}")
        if measured.value < least:
            best, least = model, measured.value
    if best is None:
        raise ValueError("no model to choose from")
    return best


def write_model(model: BackoffModel, path: Path) -> int:
    """Write a compressed ARPA file, the same bytes for the same model; return its size in bytes."""
    packed = gzip.compress(format_arpa(model).encode(), compresslevel=9, mtime=0)
    if len(packed) > MAX_BYTES:
        message = f"{path} would take {len(packed)} bytes, more than {MAX_BYTES}: lower ORDERS"
        raise ValueError(message)
    path.write_bytes(packed)
    return len(packed)


def main() -> None:
    """Build the language model from the training text, and measure it on the held-out text."""
    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument("--data", type=Path, required=True, help="folder of hindi_text.tsv and air_hindi")
    parser.add_argument("--vocab", type=Path, required=True, help="the checkpoint's vocab.json")
    parser.add_argument("--lmplz", default="lmplz", help="KenLM's program")
    parser.add_argument("--output", type=Path, required=True, help=f"folder for {FILE_NAME}")
    arguments = parser.parse_args()
    require(arguments.data / "hindi_text.tsv", arguments.data / "air_hindi" / "manifest.jsonl", arguments.vocab)
    from wordfreq import get_frequency_dict  # noqa: PLC0415 - only this command needs the package

    split, letters = Split.load(), vocabulary_letters(arguments.vocab)
    guard = split.held_out(arguments.data / "air_hindi" / "manifest.jsonl")
    lines = training_text(arguments.data, split, letters, guard)
    frequencies = word_frequencies(get_frequency_dict("hi"), letters, guard)
    corpus = {word for line in lines for word in line.split()}
    print(f"{len(lines)} lines, {sum(len(line.split()) for line in lines)} words, {len(corpus)} distinct")
    print(f"{len(frequencies.keys() - corpus)} more of {len(frequencies)} words by frequency")
    development = transcripts(arguments.data, [split.development_station], letters)
    lists = {"equally likely words": dict.fromkeys(frequencies, 1.0), "words by frequency": frequencies}
    best = choose(candidates(lines, lists, arguments.lmplz), development)
    arguments.output.mkdir(parents=True, exist_ok=True)
    size = write_model(best, arguments.output / FILE_NAME)
    shipped = parse_arpa(gzip.decompress((arguments.output / FILE_NAME).read_bytes()).decode())
    counts = "+".join(str(len(table)) for table in shipped.probabilities)
    print(f"{arguments.output / FILE_NAME}: order {shipped.order}, {counts} n-grams, {size} bytes")
    test = transcripts(arguments.data, split.test_stations, letters)
    measured = {"development station": development, "held-out phrases": split.phrases, "test stations": test}
    for name, texts in measured.items():
        missing = [word for text in texts for word in text.split() if word not in corpus]
        print(f"{name}: {perplexity(shipped, texts)}; {len(missing)} words not in the text alone")


if __name__ == "__main__":
    run("language_model", main)
