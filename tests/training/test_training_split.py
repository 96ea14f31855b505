"""What is held out stays held out: split.json, the samples that are made from it, and the code that selects text."""

import json
import os
from pathlib import Path

import pytest

from shrota_training.split import Split
from shrota_training.text import HeldOut, is_clean, normalise, read_phrases, vocabulary_letters

ROOT = Path(__file__).parents[2]
DATA = Path(os.environ.get("SHROTA_TRAINING_DATA", ROOT.parent / "shared" / "data"))
NO_DATA = "set SHROTA_TRAINING_DATA to the corpus"
LETTERS = vocabulary_letters(ROOT / "models" / "hindi-small" / "vocab.json")
KOKORO_HINDI = {"hf_alpha", "hf_beta", "hm_omega", "hm_psi"}


@pytest.fixture(scope="module")
def split() -> Split:
    return Split.load()


@pytest.fixture(scope="module")
def held(split: Split) -> HeldOut:
    return split.held_out()


def test_counts_are_those_that_were_promised(split: Split) -> None:
    assert split.test_stations == ("Ranchi", "Itanagar")
    assert split.development_station == "Dehradun"
    assert len(split.phrases) == len(set(split.phrases)) == 300
    assert len(split.voices) == 2
    assert len(KOKORO_HINDI.intersection(split.voices)) == 1


def test_phrases_can_be_spelled_by_the_checkpoint(split: Split) -> None:
    assert all(is_clean(phrase, LETTERS) and phrase == normalise(phrase) for phrase in split.phrases)


def test_samples_say_held_out_phrases_in_order(split: Split) -> None:
    lines = (ROOT / "samples" / "manifest.jsonl").read_text(encoding="utf-8").splitlines()
    rows = {Path(row["audio"]).stem: row for row in map(json.loads, lines)}
    assert rows.keys() == split.samples.keys()
    for name, row in rows.items():
        sample = split.samples[name]
        assert set(sample["phrases"]) <= set(split.phrases)
        assert " ".join(sample["phrases"]).startswith(row["text"])
        assert row["voice"] == sample["voice"]
        assert (ROOT / "samples" / row["audio"]).is_file()


def test_held_out_voices_do_not_speak_training_text(split: Split) -> None:
    assert split.training_voices(["hf_alpha", *split.voices, "af_sky"]) == ["hf_alpha", "af_sky"]


def test_stations_for_training_are_the_others(split: Split) -> None:
    stations = ["Ranchi", "Itanagar", "Dehradun", "Bhopal", "Patna"]
    assert [station for station in stations if split.is_training_station(station)] == ["Bhopal", "Patna"]


def test_no_held_out_phrase_is_selected_for_training(split: Split, held: HeldOut) -> None:
    assert held.training_lines(split.phrases) == []


def test_another_spelling_of_a_phrase_is_the_same_phrase(split: Split, held: HeldOut) -> None:
    assert held.training_lines(phrase.replace("़", "").replace("ँ", "ं") for phrase in split.phrases) == []


def test_a_line_around_a_phrase_is_refused(split: Split, held: HeldOut) -> None:
    assert held.training_lines(f"तब {phrase} और चला गया" for phrase in split.phrases) == []


def test_three_words_of_a_phrase_are_refused_and_two_are_not() -> None:
    guard = HeldOut(["एक दिन वह नहाने बैठा"])
    assert guard.leaks("दिन वह नहाने")
    assert not guard.leaks("दिन वह")
    assert not guard.leaks("एक दिन वर्षा हुई और सब लोग भीग गये")


def test_a_nearly_equal_line_is_refused() -> None:
    guard = HeldOut(["आग बुझ गयी मगर दाढी का सर्वनाश हो चुका था"])
    assert guard.leaks("आग बुझ गई मगर दाढी का सर्वनाश हो चुका था")


def test_lines_are_kept_once_and_in_order() -> None:
    guard = HeldOut(["एक दिन वह नहाने बैठा"])
    lines = ["सुमन ने फिर सोचा", "यह दोष इसका नहीं है", "सुमन ने फिर सोचा"]
    assert guard.training_lines(lines) == lines[:2]


@pytest.mark.parametrize("line", ["यह साधु क", "प्रति ा वापिस", "ऋ अबुल", "abc", "१९४७ में", ""])
def test_broken_lines_are_not_clean(line: str) -> None:
    assert not is_clean(normalise(line), LETTERS)


@pytest.mark.skipif(not (DATA / "hindi_text.tsv").is_file(), reason=NO_DATA)
def test_the_corpus_holds_every_phrase_and_training_holds_none(split: Split, held: HeldOut) -> None:
    phrases = [phrase for _, phrase in read_phrases(DATA / "hindi_text.tsv", LETTERS)]
    assert set(split.phrases) <= set(phrases)
    training = held.training_lines(phrases)
    assert not set(training) & set(split.phrases)
    assert len(training) > 8_000


@pytest.mark.skipif(not (DATA / "air_hindi" / "manifest.jsonl").is_file(), reason=NO_DATA)
def test_held_out_stations_exist(split: Split) -> None:
    lines = (DATA / "air_hindi" / "manifest.jsonl").read_text(encoding="utf-8").splitlines()
    stations = {json.loads(line)["station"] for line in lines}
    assert {*split.test_stations, split.development_station} <= stations
