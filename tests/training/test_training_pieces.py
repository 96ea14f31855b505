"""What is cut out of recordings and out of plans, and what must not be in them."""

import argparse
import gzip
import json
import random
import re
import sys
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch

from shrota_testing.repository import ROOT
from shrota_training import pace, plan
from shrota_training import pieces as cutting
from shrota_training.command import at_least, run
from shrota_training.evaluate import join_signs
from shrota_training.kokoro import PhonemeTable
from shrota_training.make_test_set import development_phrases
from shrota_training.other_voices import Speech, read
from shrota_training.pace import paces
from shrota_training.pieces import cuts, pieces, spoken, training_recordings
from shrota_training.rows import read_rows
from shrota_training.silence import trimmed
from shrota_training.split import Split
from shrota_training.synthesize import int16_of
from shrota_training.text import HeldOut

CHECKPOINT = ROOT / "models" / "hindi-small"
RATE = 16_000


def tone(samples: int) -> Speech:
    """A sine of 500 Hz, half of full scale."""
    wave: Speech = (0.5 * 32767 * np.sin(np.arange(samples) * 2 * np.pi * 500 / RATE)).astype(np.int16)
    return wave


def between_silences(word: Speech) -> Speech:
    """A word with a second of almost silent samples on either side."""
    quiet = np.full(RATE, 5, np.int16)
    return np.concatenate([quiet, word, quiet])


def test_silence_at_the_ends_is_cut_but_for_a_little() -> None:
    speech = between_silences(tone(8_000))
    cut = trimmed(speech, kept_s=0.1)
    np.testing.assert_array_equal(cut, speech[RATE - 1_600 : RATE + 8_000 + 1_600])
    np.testing.assert_array_equal(trimmed(tone(8_000)), tone(8_000))
    silence = np.zeros(500, np.int16)
    np.testing.assert_array_equal(trimmed(silence), silence)
    assert trimmed(silence[:10]).size == 10


def test_speech_for_training_has_its_silences_cut(tmp_path: Path) -> None:
    speech = between_silences(tone(8_000))
    soundfile.write(tmp_path / "a.wav", speech, RATE)
    found = read(tmp_path / "a.wav")
    assert found is not None
    assert found.size == 8_000 + 2 * 1_280
    of_kokoro = int16_of(torch.nn.functional.pad(torch.from_numpy(tone(12_000) / 32768), (24_000, 24_000)).float())
    assert of_kokoro is not None
    assert 8_000 <= of_kokoro.size <= 8_000 + 2 * 1_280 + 480


def test_the_pace_is_that_between_the_first_sound_and_the_last() -> None:
    assert paces([("क" * 8, between_silences(tone(8_000)))]) == pytest.approx([16.0])


def test_recordings_are_cut_between_words_and_the_pieces_are_the_whole() -> None:
    letters = {5: "क", 6: "ख", 4: " "}
    timed = spoken([0, 5, 5, 0, 5, 0, 4, 4, 0, 0, 6, 0, 0, 4, 0, 5], letters)
    assert timed == [("क", 1), ("क", 4), (" ", 6), ("ख", 10), (" ", 13), ("क", 15)]
    assert cuts(timed) == [7 * 320 + 200, 25 * 160 + 200]  # halfway between the letters on either side
    assert cuts([(" ", 0), ("क", 3), (" ", 9)]) == []
    text = " ".join(f"शब्द{n}" for n in range(30))
    for seed in range(20):
        parts = list(pieces(text, range(1_000, 30_000, 1_000), 30_000, random.Random(seed)))  # noqa: S311 - no secret
        assert " ".join(part.text for part in parts) == text
        assert [part.start for part in parts] == [0, *(part.end for part in parts[:-1])]
        assert parts[-1].end == 30_000
        for part in parts:
            assert part.end - part.start == 1_000 * len(part.text.split())
            assert 2 <= len(part.text.split()) <= 8


def recordings(folder: Path, rows: list[tuple[str, bool]]) -> Path:
    """A folder of `real_speech`: a second for each text, of a constant that tells which it is."""
    folder.mkdir()
    with (folder / "speech-air_hindi.jsonl").open("w", encoding="utf-8") as index:
        for text, development in rows:
            row = {"text": text, "samples": RATE, "development": development, "voice": "Bhopal"}
            index.write(json.dumps(row, ensure_ascii=False) + "\n")
    np.repeat(np.arange(1, len(rows) + 1), RATE).astype(np.int16).tofile(folder / "speech-air_hindi.raw")
    return folder


def path_of(text: str) -> list[int]:
    """A best path: each letter in a frame of its own, with a blank behind it."""
    ids = json.loads((CHECKPOINT / "vocab.json").read_text(encoding="utf-8"))
    return [token for letter in text.replace(" ", "|") for token in (ids[letter], 0)]


def cut(folder: Path, read_as: list[str], monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, set[int]]]:
    """Run the script with a checkpoint that reads the recordings so; return each piece's text and samples."""
    monkeypatch.setattr(
        cutting, "best_path", lambda _, speech: path_of(read_as[int(speech[0]) - 1]) if speech[0] else []
    )
    output = folder.parent / "pieces"
    arguments = ["--speech", str(folder), "--checkpoint", str(CHECKPOINT), "--output", str(output), "--times", "2"]
    monkeypatch.setattr(sys, "argv", ["pieces", *arguments])
    cutting.main()
    raw, offset, found = np.fromfile(output / "speech-pieces.raw", dtype=np.int16), 0, []
    for line in (output / "speech-pieces.jsonl").read_text(encoding="utf-8").splitlines():
        row = json.loads(line)
        assert row["development"] is False
        found.append((row["text"], set(raw[offset : offset + row["samples"]].tolist())))
        offset += row["samples"]
    assert offset == raw.size
    return found


def test_only_what_is_for_training_and_read_without_an_error_is_cut(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    texts = ["आज यहाँ सभा हुई", "कल वहाँ मेला लगा", "पानी बहुत कम है", "नई सड़क बनी है"]
    folder = recordings(tmp_path / "real", [(text, number == 1) for number, text in enumerate(texts)])
    assert [text for text, _, _ in training_recordings(folder / "speech-air_hindi.jsonl")] == [texts[0], *texts[2:]]
    # a delimiter twice: the words would be shifted against the cuts
    found = cut(folder, [texts[0], texts[1], "पानी बहुत कम हो", "नई सड़क बनी है||"], monkeypatch)
    assert {number for _, numbers in found for number in numbers} == {1}
    assert " ".join(text for text, _ in found) == f"{texts[0]} {texts[0]}"


def test_a_piece_that_is_part_of_a_held_out_phrase_is_left_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    held = next(phrase for phrase in Split.load().phrases if len(phrase.split()) == 6)
    folder = recordings(tmp_path / "real", [(held, False), ("आज यहाँ सभा हुई", False)])
    found = cut(folder, [held, "आज यहाँ सभा हुई"], monkeypatch)
    assert found
    assert all(not Split.load().held_out().leaks(text) for text, _ in found)


def test_a_checkpoint_that_reads_nothing_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = recordings(tmp_path / "real", [("आज यहाँ सभा हुई", False)])
    with pytest.raises(SystemExit, match="reads none of the recordings"):
        cut(folder, ["कुछ और"], monkeypatch)


def test_a_plan_has_nothing_that_is_held_out_and_only_the_voices_it_is_given(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(plan, "phonemes", lambda lines: ["a" * len(line) for line in lines])
    (tmp_path / "vocab.json").write_text(json.dumps({"vocab": {"a": 1, ".": 2, ",": 3, " ": 4}}), encoding="utf-8")
    held = "मेघालय में भारी वर्षा हुई"
    phrases = [f"गाँव {n} की नदी में पानी बहुत है {n}" for n in range(8)]
    lines = [*((phrase,) for phrase in phrases), (held,), (phrases[0], held), ("भारी वर्षा हुई",)]
    arguments = (lines, phrases, PhonemeTable(tmp_path / "vocab.json"), ["hf_alpha", "af_bella"])
    count = plan.write_plan(*arguments, tmp_path / "plan.jsonl.gz", held=HeldOut([held]))
    with gzip.open(tmp_path / "plan.jsonl.gz", "rt", encoding="utf-8") as file:
        rows = [json.loads(line) for line in file]
    assert len(rows) == count > 0
    assert not [row["text"] for row in rows if "वर्षा" in row["text"]]
    assert {row["voice"] for row in rows} | {row["other"] for row in rows} <= {"hf_alpha", "af_bella"}
    assert all(plan.SPEEDS[0] <= row["speed"] <= plan.SPEEDS[1] for row in rows)
    development = [row["text"] for row in rows if row["development"]]
    assert development_phrases(tmp_path) == list(dict.fromkeys(development))
    assert set(development) < set(phrases)


def test_a_sign_that_cannot_stand_alone_joins_the_word_before_it() -> None:
    assert join_signs("क ि ख  ् ग") == "कि ख् ग"
    assert join_signs("सब ठीक है") == "सब ठीक है"


def test_a_list_is_read_line_by_line_packed_or_not(tmp_path: Path) -> None:
    lines = '{"text": "क"}\n{"text": "ख", "x": 1}\n'
    (tmp_path / "a.jsonl").write_text(lines, encoding="utf-8")
    (tmp_path / "a.jsonl.gz").write_bytes(gzip.compress(lines.encode()))
    (tmp_path / "empty.jsonl").touch()
    for name in ("a.jsonl", "a.jsonl.gz"):
        assert read_rows(tmp_path / name, "text") == [{"text": "क"}, {"text": "ख", "x": 1}]
    assert read_rows(tmp_path / "empty.jsonl", empty=True) == []


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "is empty: make it anew"),
        (b"\xff\xfe\x00", "holds no lines of JSON: 'utf-8' codec"),
        (b'{"text": 1}\nno json', "holds no lines of JSON: Expecting value"),
        (b'{"text": 1}\n{"other": 1}', "line 2: give a JSON object with text"),
        (b"[1]", "line 1: give a JSON object with text"),
    ],
)
@pytest.mark.parametrize("name", ["list.jsonl", "list.jsonl.gz"])
def test_a_broken_list_is_said_in_one_line(tmp_path: Path, name: str, content: bytes, message: str) -> None:
    path = tmp_path / name

    def read_it() -> None:
        read_rows(path, "text")

    path.write_bytes(gzip.compress(content) if name.endswith("gz") else content)
    with pytest.raises(SystemExit, match=re.escape(message)) as ended:
        run("script", read_it)
    assert str(ended.value).startswith(f"script: {path}")
    path.write_bytes(b"\x1f\x8b no gzip")
    with pytest.raises(SystemExit, match="holds no lines of JSON"):
        run("script", read_it)


@pytest.mark.parametrize("text", ["0", "nan", "inf", "x", "1.1"])
def test_a_number_out_of_its_bounds_is_refused(text: str) -> None:
    assert at_least(0.1, 1.0)("0.5") == 0.5
    with pytest.raises(argparse.ArgumentTypeError, match=r"give a number from 0\.1 to 1"):
        at_least(0.1, 1.0)(text)


def test_the_pace_of_nothing_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = recordings(tmp_path / "real", [("आज", True)])
    monkeypatch.setattr(sys, "argv", ["pace", str(folder / "speech-air_hindi.jsonl")])
    with pytest.raises(SystemExit, match=r"no recording of .* is for training"):
        pace.main()
