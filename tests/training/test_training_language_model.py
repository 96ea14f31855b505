"""The language model: what it is made from, that its probabilities are some, and the file that is shipped."""

import gzip
import json
import math
import os
import shutil
from pathlib import Path

import pytest

from shrota_training.language_model import (
    MAX_BYTES,
    SHARES,
    BackoffModel,
    Ngram,
    choose,
    estimate,
    format_arpa,
    parse_arpa,
    perplexity,
    training_text,
    transcripts,
    with_frequencies,
    word_frequencies,
    write_model,
)
from shrota_training.split import Split
from shrota_training.text import HeldOut, is_clean, vocabulary_letters

ROOT = Path(__file__).parents[2]
SHIPPED = ROOT / "models" / "hindi-small" / "lm.arpa.gz"
DATA = Path(os.environ.get("SHROTA_TRAINING_DATA", ROOT.parent / "shared" / "data"))
LETTERS = vocabulary_letters(ROOT / "models" / "hindi-small" / "vocab.json")
LMPLZ = shutil.which("lmplz", path=f"{os.environ.get('PATH', '')}:{ROOT / '.cache' / 'kenlm' / 'build' / 'bin'}")
# Interpolated: p(w | h) = a(w | h) + backoff(h) p(w), with a(एक | <s>) = 0.5, a(दो | एक) = 0.5, a(</s> | एक) = 0.25.
UNIGRAMS = {"एक": 0.25, "दो": 0.25, "</s>": 0.25, "<unk>": 0.25}
BIGRAMS = {("<s>", "एक"): 0.625, ("एक", "दो"): 0.5625, ("एक", "</s>"): 0.3125}
BACKOFFS = {"<s>": 0.5, "एक": 0.25}


def sum_after(model: BackoffModel, context: Ngram) -> float:
    """Return the sum of all probabilities after a context."""
    return sum(10 ** model.log10((*context, word)) for (word,) in model.probabilities[0] if word != "<s>")


@pytest.fixture
def tiny() -> BackoffModel:
    unigrams: dict[Ngram, float] = {(word,): math.log10(p) for word, p in UNIGRAMS.items()}
    unigrams["<s>",] = 0.0
    bigrams: dict[Ngram, float] = {ngram: math.log10(p) for ngram, p in BIGRAMS.items()}
    return BackoffModel([unigrams, bigrams], {(word,): math.log10(weight) for word, weight in BACKOFFS.items()})


@pytest.fixture(scope="module")
def shipped() -> BackoffModel:
    return parse_arpa(gzip.decompress(SHIPPED.read_bytes()).decode())


@pytest.fixture
def split() -> Split:
    return Split.load()


@pytest.fixture
def corpus(tmp_path: Path, split: Split) -> Path:
    """A folder like that of the real texts, in which every line but three must not be learnt."""
    lines = ["नदी के किनारे नाव बँधी थी", "abc १९४७", "मेघालय में वर्षा हुई", *split.phrases]
    lines += [f"तब {phrase} और चला गया" for phrase in split.phrases]
    (tmp_path / "hindi_text.tsv").write_text("".join(f"book\t{line}\n" for line in lines), encoding="utf-8")
    stations = {
        "Bhopal": ["आज भोपाल में बैठक हुई", "मेघालय में वर्षा हुई", split.phrases[0]],
        "Patna": ["पटना में पुल बनेगा", "कल राँची से समाचार आया"],
        "Ranchi": ["कल राँची से समाचार आया"],
        "Itanagar": ["ईटानगर में मेला लगा"],
        "Dehradun": ["मेघालय में वर्षा हुई", "कोविड19 की जाँच"],
    }
    rows = [{"station": station, "text": text} for station, texts in stations.items() for text in texts]
    (tmp_path / "air_hindi").mkdir()
    manifest = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
    (tmp_path / "air_hindi" / "manifest.jsonl").write_text(manifest, encoding="utf-8")
    return tmp_path


def test_only_text_that_is_not_held_out_is_learnt(corpus: Path, split: Split) -> None:
    guard = split.held_out(corpus / "air_hindi" / "manifest.jsonl")
    lines = training_text(corpus, split, LETTERS, guard)
    assert lines == ["नदी के किनारे नाव बँधी थी", "आज भोपाल में बैठक हुई", "पटना में पुल बनेगा"]


def test_a_book_that_says_what_a_held_out_station_says_is_not_learnt(corpus: Path, split: Split) -> None:
    only_phrases = training_text(corpus, split, LETTERS, split.held_out())
    assert "मेघालय में वर्षा हुई" in only_phrases  # nothing but the transcripts forbids it
    assert "मेघालय में वर्षा हुई" not in training_text(
        corpus, split, LETTERS, split.held_out(corpus / "air_hindi" / "manifest.jsonl")
    )


def test_transcripts_are_those_of_the_station_that_can_be_spelled(corpus: Path) -> None:
    assert transcripts(corpus, ["Dehradun"], LETTERS) == ["मेघालय में वर्षा हुई"]
    assert transcripts(corpus, ["Ranchi", "Itanagar"], LETTERS) == ["कल राँची से समाचार आया", "ईटानगर में मेला लगा"]


def test_words_that_cannot_be_spelled_are_left_out() -> None:
    listed = {"है": 0.5, "abc": 0.1, "१९४७": 0.1, "ा": 0.1, "क": 0.1, "नहीं\u200d": 0.25, "नहीं": 0.25}
    frequencies = word_frequencies(listed, LETTERS, HeldOut([]))
    assert frequencies["है"] == 0.5
    assert frequencies["नहीं"] == 0.5
    assert {"abc", "१९४७", "ा", "क"}.isdisjoint(frequencies)


def test_number_words_that_the_list_lacks_are_as_rare_as_its_rarest_word() -> None:
    frequencies = word_frequencies({"है": 0.5, "एक": 0.25}, LETTERS, HeldOut([]))
    assert (frequencies["एक"], frequencies["उनचास"], frequencies["लाख"]) == (0.25, 0.25, 0.25)
    assert len(frequencies) == 1 + 100 + 4


def test_a_held_out_word_is_not_listed() -> None:
    assert "कमल" not in word_frequencies({"कमल": 0.5, "है": 0.25}, LETTERS, HeldOut(["कमल"]))


def test_an_unseen_ngram_backs_off(tiny: BackoffModel) -> None:
    assert tiny.log10(("एक", "दो")) == pytest.approx(math.log10(0.5625))
    assert tiny.log10(("एक", "एक")) == pytest.approx(math.log10(0.25 * 0.25))
    assert tiny.log10(("दो", "एक")) == pytest.approx(math.log10(0.25))


def test_mixing_changes_the_unigrams_and_what_rests_on_them(tiny: BackoffModel) -> None:
    mixed = with_frequencies(tiny, {"दो": 1.0, "तीन": 3.0}, share=0.5)
    unigrams = {word: 10**log10 for (word,), log10 in mixed.probabilities[0].items() if word != "<s>"}
    # of the 0.75 that do not end a line, the list gives दो a quarter and तीन three quarters
    assert unigrams == pytest.approx({"एक": 0.125, "दो": 0.21875, "तीन": 0.28125, "</s>": 0.25, "<unk>": 0.125})
    assert 10 ** mixed.log10(("<s>", "एक")) == pytest.approx(0.5 + 0.5 * 0.125)
    assert 10 ** mixed.log10(("एक", "दो")) == pytest.approx(0.5 + 0.25 * 0.21875)
    assert 10 ** mixed.log10(("एक", "तीन")) == pytest.approx(0.25 * 0.28125)


@pytest.mark.parametrize("share", SHARES)
@pytest.mark.parametrize("context", [(), ("<s>",), ("एक",), ("दो",)])
def test_probabilities_still_sum_to_one(tiny: BackoffModel, share: float, context: Ngram) -> None:
    assert sum_after(tiny, context) == pytest.approx(1)
    assert sum_after(with_frequencies(tiny, {"दो": 1.0, "तीन": 3.0}, share), context) == pytest.approx(1)


def test_perplexity_is_that_of_known_words_and_line_ends(tiny: BackoffModel) -> None:
    measured = perplexity(tiny, ["एक दो"])
    assert measured.value == pytest.approx((0.625 * 0.5625 * 0.25) ** (-1 / 3))
    assert (measured.tokens, measured.words, measured.unknown) == (3, 2, 0)


def test_an_unknown_word_is_counted_and_not_measured(tiny: BackoffModel) -> None:
    measured = perplexity(tiny, ["एक सौ"])
    assert measured.value == pytest.approx((0.625 * 0.25) ** (-1 / 2))
    assert (measured.tokens, measured.words, measured.unknown) == (2, 2, 1)
    assert str(measured) == "perplexity 2.5, out of vocabulary 50.00 % (1/2)"


def test_the_model_of_least_perplexity_is_chosen(tiny: BackoffModel) -> None:
    mixed = with_frequencies(tiny, {"दो": 1.0}, share=0.5)
    assert choose([("mixed", mixed), ("tiny", tiny)], ["एक एक"]) is tiny
    assert choose([("tiny", tiny), ("mixed", mixed)], ["दो दो"]) is mixed


def test_an_arpa_file_is_read_as_it_was_written(tiny: BackoffModel) -> None:
    text = format_arpa(tiny)
    again = parse_arpa(text)
    assert format_arpa(again) == text
    assert again.log10(("एक", "दो")) == pytest.approx(math.log10(0.5625), abs=1e-4)
    assert {context: again.backoffs[context] for context in tiny.backoffs} == pytest.approx(tiny.backoffs, abs=1e-4)
    assert text.splitlines()[:3] == ["\\data\\", "ngram 1=5", "ngram 2=3"]


def test_every_word_has_a_backoff_weight_without_which_decoders_do_not_know_it(tiny: BackoffModel) -> None:
    lines = format_arpa(tiny).splitlines()
    assert "-0.6021\tदो\t0.0000" in lines
    assert "-0.6021\tएक\t-0.6021" in lines
    assert "-0.2499\tएक दो" in lines


def test_the_same_model_is_the_same_bytes(tiny: BackoffModel, tmp_path: Path) -> None:
    turned = BackoffModel([dict(reversed(table.items())) for table in tiny.probabilities], tiny.backoffs)
    sizes = [write_model(tiny, tmp_path / "a"), write_model(turned, tmp_path / "b")]
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()
    assert sizes == [(tmp_path / "a").stat().st_size] * 2


def test_without_lmplz_the_error_says_where_to_get_it() -> None:
    with pytest.raises(FileNotFoundError, match="make -C training lm"):
        estimate(["एक दो"], 2, "/nowhere/lmplz")


@pytest.mark.skipif(LMPLZ is None, reason="needs KenLM's lmplz: `make -C training lm` builds it")
def test_kenlm_estimates_probabilities_that_sum_to_one_before_and_after_mixing() -> None:
    lines = ["एक दो तीन", "एक दो चार", "दो तीन", "चार एक दो"]
    model = estimate(lines, 3, str(LMPLZ))
    mixed = with_frequencies(model, {"तीन": 1.0, "पाँच": 2.0}, share=0.4)
    assert model.order == 3
    assert {(word,) for word in " ".join(lines).split()} <= model.probabilities[0].keys()
    for context in [(), *model.backoffs]:
        assert sum_after(model, context) == pytest.approx(1, abs=1e-4)
        assert sum_after(mixed, context) == pytest.approx(1, abs=1e-4)


def test_the_shipped_file_is_small_and_sorted(shipped: BackoffModel) -> None:
    assert SHIPPED.stat().st_size <= MAX_BYTES
    text = gzip.decompress(SHIPPED.read_bytes()).decode()
    assert text == format_arpa(shipped)


def test_every_shipped_word_can_be_spelled_by_the_checkpoint(shipped: BackoffModel) -> None:
    words = shipped.words()
    assert len(words) > 20_000
    assert all(is_clean(word, LETTERS) for word in words)


def test_shipped_probabilities_sum_to_one(shipped: BackoffModel) -> None:
    contexts = sorted(context for context in shipped.backoffs if len(context) < shipped.order)
    for context in [(), ("<s>",), ("है",), *contexts[:: len(contexts) // 10]]:
        assert sum_after(shipped, context) == pytest.approx(1, abs=2e-3)


def test_no_held_out_phrase_is_in_the_shipped_model_from_end_to_end(shipped: BackoffModel, split: Split) -> None:
    longest = shipped.probabilities[-1]
    for phrase in split.phrases:
        words = ("<s>", *phrase.split(), "</s>")
        pieces = [words[i : i + shipped.order] for i in range(len(words) - shipped.order + 1)]
        assert not all(piece in longest for piece in pieces), phrase


@pytest.mark.skipif(not (DATA / "hindi_text.tsv").is_file(), reason="set SHROTA_TRAINING_DATA to the corpus")
def test_every_shipped_ngram_comes_from_a_training_line(shipped: BackoffModel, split: Split) -> None:
    guard = split.held_out(DATA / "air_hindi" / "manifest.jsonl")
    lines = training_text(DATA, split, LETTERS, guard)
    assert guard.training_lines(lines) == lines
    sentences = [("<s>", *line.split(), "</s>") for line in lines]
    for size, table in enumerate(shipped.probabilities[1:], 2):
        seen = {words[i : i + size] for words in sentences for i in range(len(words) - size + 1)}
        assert table.keys() <= seen
