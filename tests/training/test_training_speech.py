"""Where training speech comes from: what is held out stays out, and what is loaded is what was written."""

import argparse
import gzip
import json
import random
import runpy
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import onnxruntime
import pytest
import soundfile
import torch
from numpy.typing import NDArray
from onnx import TensorProto, helper

from shrota_training import held_out_sets
from shrota_training.augment import CLEAN
from shrota_training.batches import (
    RATE,
    ROW_LENGTH_WEIGHTS,
    ROW_LENGTHS_S,
    BatchMaker,
    Clip,
    Source,
    Stream,
    load_speech,
    pack,
)
from shrota_training.kokoro_steps import align, mean_over_time, normalise_in_style, round_to_8_bits
from shrota_training.other_voices import ESPEAK_VARIANTS, Speech, espeak_command, festival_script, read, texts_of, write
from shrota_training.plan import make_lines
from shrota_training.real_speech import recordings
from shrota_training.split import Split
from shrota_training.synthesize import TOKEN_S, batches_of, int16_of

VOCAB = {"<pad>": 0, "<s>": 1, "</s>": 2, "<unk>": 3, "|": 4, "क": 5, "ख": 6, "ग": 7}
VOCAB_PATH = Path(__file__).parents[2] / "models" / "hindi-small" / "vocab.json"
LETTERS = frozenset("कखगघचछजझटठडढतथदध")
SPLIT = Split(test_stations=("Ranchi",), development_station="Dehradun", voices=(), phrases=("कखग घचछ जझ",), samples={})


def tone(samples: int) -> NDArray[np.float32]:
    """A sine of 200 Hz at 16 kHz."""
    audio: NDArray[np.float32] = (0.1 * np.sin(2 * np.pi * 200 / 16_000 * np.arange(samples))).astype(np.float32)
    return audio


def test_of_the_recordings_only_what_is_not_held_out_is_read(tmp_path: Path) -> None:
    rows = [
        ("Jaipur", "टठड ढतथ"),
        ("Ranchi", "छजझ दधट"),
        ("Dehradun", "तथद धटठ"),
        ("Jaipur", "कखग घचछ जझ"),
        ("Jaipur", "x y"),
        ("Patna", "डढत थदध"),
    ]
    for number, _ in enumerate(rows[:-1]):
        soundfile.write(tmp_path / f"{number}.wav", tone(8_000 + number), 16_000)
    soundfile.write(tmp_path / "5.wav", np.zeros(8_000), 16_000)
    (tmp_path / "1.wav").write_bytes(b"not to be opened")
    manifest = tmp_path / "manifest.jsonl"
    lines = [{"audio": f"{n}.wav", "station": station, "text": text} for n, (station, text) in enumerate(rows)]
    manifest.write_text("\n".join(json.dumps(line) for line in lines), encoding="utf-8")
    skipped: Counter[str] = Counter()
    found = list(recordings(manifest, SPLIT, LETTERS, skipped))
    assert [(row.station, row.development, row.speech.size) for row in found] == [
        ("Jaipur", False, 8_000),
        ("Dehradun", True, 8_002),
    ]
    assert skipped == {
        "test station": 1,
        "close to what is held out": 1,
        "letters that the vocabulary lacks": 1,
        "silent, too short or too long": 1,
    }


def test_a_plans_lines_for_development_are_spoken_by_no_other_voice(tmp_path: Path) -> None:
    rows = [("क ख", False), ("ग", True), ("ख ख", False), ("क ख", False), ("ग", False)]
    with gzip.open(tmp_path / "plan.jsonl.gz", "wt", encoding="utf-8") as file:
        file.writelines(json.dumps({"text": text, "development": kept}) + "\n" for text, kept in rows)
    assert texts_of(tmp_path) == ["क ख", "ख ख"]


def test_a_seed_draws_other_lines_from_the_same_texts_and_again_the_same() -> None:
    phrases = [f"{a} {b} {c}" for a in "कखग" for b in "चछज" for c in "टठ"]
    words = [f"{a}{b}" for a in "कखगचछज" for b in "तथदध"]
    first, again, other = (make_lines(phrases, phrases[:2], words, 0.01, seed) for seed in (0, 0, 1))
    assert first == again
    assert first != other
    spoken = {word for line in other for phrase in line for word in phrase.split()}
    assert spoken >= {"क", "ख", "ग"}


@pytest.mark.parametrize("rate", [16_000, 22_050])
def test_speech_is_read_at_16_khz_and_one_level(rate: int, tmp_path: Path) -> None:
    soundfile.write(tmp_path / "a.wav", tone(rate), rate)
    speech = read(tmp_path / "a.wav")
    assert speech is not None
    assert speech.dtype == np.int16
    assert speech.size == 16_000
    assert np.abs(speech).max() == pytest.approx(0.7 * 32767, abs=2)


@pytest.mark.parametrize("samples", [0, 4_000, 330_000])
def test_a_voice_that_said_nothing_or_too_much_is_left_out(samples: int, tmp_path: Path) -> None:
    soundfile.write(tmp_path / "a.wav", tone(samples), 16_000)
    assert read(tmp_path / "a.wav") is None
    assert read(tmp_path / "missing.wav") is None


def test_festival_speaks_every_line_into_its_file_with_a_pitch_of_its_own(tmp_path: Path) -> None:
    lines = [("क ख", tmp_path / "0.wav"), ("ग", tmp_path / "1.wav")]
    script = festival_script(lines, random.Random(0))  # noqa: S311 - no secret
    assert script == festival_script(lines, random.Random(0))  # noqa: S311 - no secret
    assert script.count("(voice_hindi_NSK_diphone)") == 1
    for text, path in lines:
        assert f'(utt.save.wave (utt.synth (Utterance Text "{text}")) "{path}")' in script
    pitches = [line for line in script.splitlines() if line.startswith("(set! int_simple_params")]
    assert len(set(pitches)) == 3
    assert script.count("(") == script.count(")")


def test_espeak_draws_from_all_variants(tmp_path: Path) -> None:
    rng = random.Random(0)  # noqa: S311 - no secret
    commands = [espeak_command("क", tmp_path / "a.wav", rng) for _ in range(300)]
    assert {command[2] for command in commands} == {"hi" + variant for variant in ESPEAK_VARIANTS}
    assert all(command[-2:] == [str(tmp_path / "a.wav"), "क"] for command in commands)


def written(folder: Path, texts: list[str], level: int) -> Path:
    """A folder of speech: constant samples, one more second for each line."""

    def lines() -> Iterator[tuple[str, Speech]]:
        for number, text in enumerate(texts):
            yield text, np.full(16_000 * (number + 1), level + number, np.int16)

    hours = write(lines(), "voice", folder)
    assert hours == pytest.approx(sum(range(len(texts) + 1)) / 3600)
    return folder


def test_sources_are_loaded_with_their_texts_and_as_often_as_they_should_come(tmp_path: Path) -> None:
    first, second = written(tmp_path / "a", ["क", "क ख"], 100), written(tmp_path / "b", ["ग"], 200)
    rows = [json.loads(line) for line in (first / "speech-voice.jsonl").read_text(encoding="utf-8").splitlines()]
    rows[1]["development"] = True
    (first / "speech-voice.jsonl").write_text("\n".join(json.dumps(row) for row in rows), encoding="utf-8")
    speech = load_speech([Source(first), Source.parse(f"{second}:3")], VOCAB, "cpu")
    assert [clip.tokens for clip in speech.training] == [(5,), (7,), (7,), (7,)]
    assert [clip.tokens for clip in speech.development[str(first)]] == [(5, 4, 6)]
    assert speech.hours() == pytest.approx(2 / 3600)
    for clip, level in ((speech.training[0], 100), (speech.development[str(first)][0], 101), (speech.training[1], 200)):
        assert speech.samples[clip.start : clip.start + clip.samples].unique().tolist() == [level]


def test_an_index_may_be_ahead_of_its_speech(tmp_path: Path) -> None:
    folder = written(tmp_path / "a", ["क", "क ख"], 100)
    raw = folder / "speech-voice.raw"
    raw.write_bytes(raw.read_bytes()[:-2])
    assert [clip.tokens for clip in load_speech([Source(folder)], VOCAB, "cpu").training] == [(5,)]


@pytest.mark.parametrize("text", ["folder:0", "folder:x", "folder:-1"])
def test_a_source_that_cannot_be_read_is_refused(text: str) -> None:
    with pytest.raises(argparse.ArgumentTypeError, match="how often"):
        Source.parse(text)


def test_no_speech_is_an_error_that_names_the_folders(tmp_path: Path) -> None:
    good = written(tmp_path / "good", ["क"], 100)
    with pytest.raises(FileNotFoundError, match=r"no speech in .*missing"):
        load_speech([Source(good), Source(tmp_path / "missing")], VOCAB, "cpu")


def test_a_plain_batch_holds_every_clip_once_normalised_with_its_tokens(tmp_path: Path) -> None:
    folder = tmp_path / "a"
    spoken = [("क", tone(16_000)), ("क ख", tone(24_000))]
    write(((text, (audio * 32767).astype(np.int16)) for text, audio in spoken), "voice", folder)
    speech = load_speech([Source(folder)], VOCAB, "cpu")
    (batch,) = BatchMaker(speech.samples, 60.0, seed=0).plain(speech.training)
    assert batch.samples.tolist() == [16_000, 24_000]
    assert batch.tokens.tolist() == [5, 5, 4, 6]
    assert batch.token_counts.tolist() == [1, 3]
    assert not batch.audio[0, 16_000:].any()
    assert batch.audio[0, :16_000].square().mean().item() == pytest.approx(1, abs=1e-4)


def test_every_clip_comes_about_equally_often_also_a_long_one() -> None:
    seconds = [1.0] * 40 + [5.0] * 20 + [15.0] * 2
    clips = [Clip(number, int(length * RATE), (number,)) for number, length in enumerate(seconds)]
    stream = Stream(clips, random.Random(0))  # noqa: S311 - no secret
    rng = random.Random(1)  # noqa: S311 - no secret
    drawn: Counter[float] = Counter()
    for _ in range(1_000):
        length_s = rng.choices(ROW_LENGTHS_S, ROW_LENGTH_WEIGHTS)[0]
        limit = int(length_s * RATE)
        for row in pack(stream, limit, int(40 / length_s), 20 * RATE):
            edges = [edge for position, clip in row for edge in (position, position + clip.samples)]
            assert edges == sorted(edges)
            assert 0 <= edges[0] <= edges[-1] <= limit
            drawn.update(clip.samples / RATE for _, clip in row)
    times = {length: drawn[length] / seconds.count(length) for length in drawn}
    assert times[15.0] == pytest.approx(times[1.0], rel=0.05)
    assert times[5.0] == pytest.approx(times[1.0], rel=0.05)
    assert times[1.0] > 100


def test_a_clip_that_is_longer_than_all_rows_are_for_now_is_passed_over() -> None:
    clips = [Clip(0, 2 * RATE, (0,)), Clip(2 * RATE, 10 * RATE, (1,))]
    stream = Stream(clips, random.Random(0))  # noqa: S311 - no secret
    assert {clip.samples for row in pack(stream, 4 * RATE, 30, 6 * RATE) for _, clip in row} == {2 * RATE}
    assert not any(stream.waiting.values())


def test_training_batches_have_the_rows_lengths_and_the_texts_of_their_clips(tmp_path: Path) -> None:
    folder = tmp_path / "a"
    spoken = [("क", tone(16_000)), ("क ख", tone(24_000)), ("ग ग", tone(40_000))]
    write(((text, (audio * 32767).astype(np.int16)) for text, audio in spoken), "voice", folder)
    speech = load_speech([Source(folder)], VOCAB, "cpu")
    batches = BatchMaker(speech.samples, 20.0, seed=0, strengths=(CLEAN,)).training(speech.training)
    lengths: Counter[float] = Counter()
    for _ in range(12):
        batch = next(batches)
        rows, width = batch.audio.shape
        lengths[width / RATE] += 1
        assert rows == int(20.0 / (width / RATE))
        assert len(batch.samples) == len(batch.token_counts) == rows
        assert set(batch.samples.tolist()) == {width}
        assert int(batch.token_counts.sum()) == len(batch.tokens)
        for row, count in zip(batch.audio, batch.samples.tolist(), strict=True):
            assert not row[count:].any()
            # 1e-7 is added to the variance, as the feature extractor does: less than 1 where a row is quiet
            assert 0.5 < row[:count].square().mean().item() < 1.001
            assert row[:count].mean().item() == pytest.approx(0, abs=1e-4)
    assert set(lengths) <= set(ROW_LENGTHS_S)
    assert len(lengths) > 2


def test_what_is_spoken_at_once_has_one_number_of_tokens_and_nothing_is_lost() -> None:
    rng = random.Random(0)  # noqa: S311 - no secret
    rows = [{"tokens": [1] * rng.randint(1, 30), "speed": rng.uniform(0.8, 1.25), "number": n} for n in range(500)]
    batches = batches_of(rows, 14.0)
    assert sorted(row["number"] for batch in batches for row in batch) == list(range(500))
    for batch in batches:
        (tokens,) = {len(row["tokens"]) for row in batch}
        assert len(batch) == 1 or len(batch) * tokens * TOKEN_S <= 14.0 + 1e-9
        assert [row["speed"] for row in batch] == sorted(row["speed"] for row in batch)
    assert batches == batches_of(rows, 14.0)
    sizes = [len(batch[0]["tokens"]) for batch in batches]
    assert sizes != sorted(sizes)  # any beginning is a fair mix


def test_speech_is_brought_to_16_khz_and_what_cannot_be_used_is_left_out() -> None:
    time = torch.arange(24_000) / 24_000
    speech = int16_of(0.1 * torch.sin(2 * torch.pi * 1_000 * time))
    assert speech is not None
    assert speech.dtype == np.int16
    assert len(speech) == 16_000
    assert np.abs(speech).max() == pytest.approx(0.7 * 32767, abs=1)
    assert int(np.abs(np.fft.rfft(speech)).argmax()) == 1_000
    assert int16_of(torch.zeros(0)) is None
    assert int16_of(torch.zeros(24_000 * 21)) is None
    assert int16_of(torch.full((2_400,), torch.nan)) is None


def test_a_row_of_a_batch_is_rounded_to_8_bits_as_onnx_runtime_rounds_it_alone() -> None:
    rows = torch.randn(3, 4, 50) * torch.tensor([0.1, 1.0, 10.0])[:, None, None]
    rounded = round_to_8_bits(rows)
    x, y = (helper.make_tensor_value_info(name, TensorProto.FLOAT, None) for name in ("x", "y"))
    nodes = [
        helper.make_node("DynamicQuantizeLinear", ["x"], ["q", "s", "z"]),
        helper.make_node("DequantizeLinear", ["q", "s", "z"], ["y"]),
    ]
    graph = helper.make_model(helper.make_graph(nodes, "round", [x], [y]), opset_imports=[helper.make_opsetid("", 17)])
    session = onnxruntime.InferenceSession(graph.SerializeToString(), providers=["CPUExecutionProvider"])
    for row, result in zip(rows, rounded, strict=True):
        (expected,) = session.run(None, {"x": row.numpy()})
        np.testing.assert_allclose(result.numpy(), expected, atol=1e-5 * float(row.abs().max()))


def test_rows_of_a_batch_have_the_statistics_that_they_have_alone() -> None:
    data, share = torch.randn(2, 3, 40), torch.tensor([1.0, 0.6])
    gain, shift, epsilon = torch.rand(2, 3, 1), torch.rand(2, 3, 1), torch.tensor(1e-5)
    snake = (torch.full((1, 3, 1), 2.0), torch.full((1, 3, 1), 0.5))
    together = normalise_in_style(data, share, epsilon, (gain, shift), snake)
    alone = data[1:, :, :24]
    normed = torch.nn.functional.instance_norm(alone) * gain[1:] + shift[1:]
    torch.testing.assert_close(together[1:, :, :24], normed + torch.sin(2 * normed) ** 2 / 2, atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(mean_over_time([data, torch.tensor([2]), share], {})[1, :, 0], alone.mean(2)[0])


def test_the_last_token_of_a_shorter_row_lasts_until_the_longest_ends() -> None:
    alignment, frames, share = align([torch.tensor([[1, 2, 1], [2, 3, 1]])], {})
    assert frames.tolist() == [4, 6]
    assert share.tolist() == pytest.approx([4 / 6, 1])
    assert alignment.argmax(1).tolist() == [[0, 1, 1, 2, 2, 2], [0, 0, 1, 1, 1, 2]]
    assert alignment.sum(1).unique().tolist() == [1.0]


def test_held_out_sets_hold_every_recording_of_the_test_stations_and_its_telephone_version(tmp_path: Path) -> None:
    rows = [("Ranchi", "x 5", 1_000.0), ("Jaipur", "क", 500.0), ("Ranchi", "ग", 5_000.0)]
    manifest = tmp_path / "manifest.jsonl"
    with manifest.open("w", encoding="utf-8") as lines:
        for number, (station, text, frequency) in enumerate(rows):
            audio = 0.5 * np.sin(2 * np.pi * frequency / RATE * np.arange(RATE))
            soundfile.write(tmp_path / f"{number}.flac", audio, RATE)
            lines.write(json.dumps({"audio": f"{number}.flac", "text": text, "station": station}) + "\n")
    plain = list(held_out_sets.stations(manifest, SPLIT.test_stations))
    assert [(row.name, row.text, row.voice) for row in plain] == [("0", "x 5", "Ranchi"), ("2", "ग", "Ranchi")]
    minutes = held_out_sets.write(held_out_sets.by_telephone(plain), tmp_path / "telephone")
    assert minutes == pytest.approx(2 / 60)
    [kept, cut] = list(held_out_sets.voices(tmp_path / "telephone" / "manifest.jsonl"))
    assert kept.audio.std() == pytest.approx(0.5 / np.sqrt(2), rel=0.05)
    assert cut.audio.std() < 0.02  # above the telephone's band


@pytest.mark.parametrize(
    ("script", "arguments"),
    [
        ("held_out_sets", ["--stations", "none.jsonl", "--voices", "none.jsonl", "--output", "out"]),
        ("language_model", ["--data", "none", "--vocab", "none.json", "--output", "out"]),
        ("plan", ["--data", "none", "--voices", "none", "--phonemes", "none", "--vocab", "none", "--output", "out"]),
        ("synthesize", ["--model", "none.onnx", "--plan", "none", "--output", "out"]),
        ("train", ["--speech", "none", "--vocab", str(VOCAB_PATH), "--output", "out", "--minutes", "1"]),
    ],
)
def test_what_is_not_there_is_said_in_one_line(
    script: str, arguments: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", [script, *arguments])
    monkeypatch.delitem(sys.modules, f"shrota_training.{script}", raising=False)
    with pytest.raises(SystemExit) as ended:
        runpy.run_module(f"shrota_training.{script}", run_name="__main__")
    text = str(ended.value)
    assert text.startswith(f"{script}: ")
    assert "none" in text
    assert "\n" not in text
    assert not (tmp_path / "out").exists()
