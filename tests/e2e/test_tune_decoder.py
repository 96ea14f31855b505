"""``shrota tune-decoder`` against a real server: what it prints is what the decoder gives in this process."""

import json
import os
import pty
import subprocess
import sys
import termios
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile

from shrota_client.score import Score, score_texts
from shrota_decoder.decoder import Decoder
from shrota_decoder.language_model import find_language_model
from shrota_decoder.settings import read_settings
from shrota_server import TritonServer
from shrota_testing.engines import tiny_log_probs
from shrota_testing.language_models import write_arpa
from shrota_testing.repository import make_repository
from shrota_testing.triton import statistics
from shrota_testing.utterances import VOCABULARY, noise

pytestmark = pytest.mark.triton

SECONDS = (1.0, 1.5, 2.0)
AUDIOS = [noise(seconds, seed) for seed, seconds in enumerate(SECONDS)]
BEAM = {"beam_width": 20}


def shrota(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    """Runs the command as a user would."""
    command = [Path(sys.executable).with_name("shrota"), *arguments]
    return subprocess.run(command, capture_output=True, encoding="utf-8", check=False, timeout=60)


@pytest.fixture(scope="module")
def tuned_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TritonServer]:
    """A server with the tiny engine and a language model of the letters that the engine hears alone."""
    repository = make_repository(tmp_path_factory.mktemp("tune") / "model_repository")
    words = {letter: -1.0 - number / 20 for number, letter in enumerate("अआइईउकगजतदनपबमयरलवसह")}
    write_arpa(repository / "ctc_decoder" / "1" / "lm.arpa", words)
    with TritonServer(repository, models=["asr", "acoustic_onnx"]) as running:
        yield running


@pytest.fixture(scope="module")
def decoder(tuned_server: TritonServer) -> Decoder:
    """The decoder that the server runs, in this process."""
    return Decoder(VOCABULARY, find_language_model(tuned_server.repository / "ctc_decoder" / "1"), read_settings({}))


def decoded(decoder: Decoder, **parameters: float | str) -> list[str]:
    """The texts of all utterances."""
    read = decoder.read_parameters(parameters)
    decoder.prepare(read)
    rows = (tiny_log_probs(audio).astype(np.float32) for audio in AUDIOS)
    return [decoder.decode(row, seconds, read).text for row, seconds in zip(rows, SECONDS, strict=True)]


@pytest.fixture(scope="module")
def manifest(decoder: Decoder, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Noise, and as its references what the decoder hears with one pair of weights."""
    folder = tmp_path_factory.mktemp("development")
    lines = []
    for number, (audio, text) in enumerate(
        zip(AUDIOS, decoded(decoder, **BEAM, lm_weight=0.75, word_score=2), strict=True)
    ):
        soundfile.write(folder / f"{number}.wav", audio, 16000, subtype="FLOAT")
        lines.append(json.dumps({"audio": f"{number}.wav", "text": text}))
    path = folder / "manifest.jsonl"
    path.write_text("\n".join(lines), encoding="utf-8")
    return path


def scored(manifest: Path, texts: list[str]) -> Score:
    """The score of texts against the manifest's references."""
    references = [json.loads(line)["text"] for line in manifest.read_text(encoding="utf-8").splitlines()]
    return score_texts(list(zip(references, texts, strict=True)))


def test_every_pair_has_the_error_rates_that_the_decoder_gives(
    tuned_server: TritonServer, decoder: Decoder, manifest: Path
) -> None:
    before = statistics(tuned_server.http_url, "acoustic")["inference_count"]
    arguments = ["--beam-width", "20", "--lm-weight", "0.5:1:0.5", "--word-score", "0:4:2", "--refine", "1"]
    done = shrota("tune-decoder", manifest, "--server", tuned_server.grpc_url, *arguments, "--json")
    assert done.returncode == 0, done.stderr
    report: dict[str, Any] = json.loads(done.stdout)

    assert statistics(tuned_server.http_url, "acoustic")["inference_count"] - before == len(AUDIOS)
    trials = {(each["lm_weight"], each["word_score"]): each for each in report["trials"]}
    assert len(trials) == len(report["trials"]) > 6
    for (lm_weight, word_score), trial in trials.items():
        score = scored(manifest, decoded(decoder, **BEAM, lm_weight=lm_weight, word_score=word_score))
        assert trial["word_error_rate"] == score.words.value
        assert trial["character_error_rate"] == score.characters.value
    for name, texts in {
        "greedy": decoded(decoder),
        "without_language_model": decoded(decoder, **BEAM, lm_weight=0),
    }.items():
        assert report[name]["word_error_rate"] == scored(manifest, texts).words.value > 0
    # the references were made with a pair that the refinement reaches
    assert trials[0.75, 2.0]["word_error_rate"] == 0
    assert report["best"]["word_error_rate"] == 0
    assert max(each["word_error_rate"] for each in report["trials"]) > 0
    assert report["beam_width"] == 20


def test_a_table_for_people_and_the_lines_that_use_the_best_pair(
    tuned_server: TritonServer, decoder: Decoder, manifest: Path
) -> None:
    """What is printed can be used as it is."""
    arguments = ["--beam-width", "20", "--lm-weight", "0.75", "--word-score", "1:2:1", "--refine", "0"]
    done = shrota("tune-decoder", manifest, "--server", f"http://{tuned_server.http_url}", *arguments)
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    one = scored(manifest, decoded(decoder, **BEAM, lm_weight=0.75, word_score=1))
    assert lines[1].startswith("greedy ")
    assert lines[2].startswith("beam without language model ")
    assert [line.split() for line in lines[:1] + lines[3:5]] == [
        ["lm_weight", "word_score", "word", "error", "rate", "character", "error", "rate"],
        f"0.75 1 {100 * one.words.value:.1f} % {100 * one.characters.value:.1f} %".split(),
        ["0.75", "2", "0.0", "%", "0.0", "%", "best"],
    ]
    # there is no terminal: a line for each way
    rates = f"word error rate {100 * one.words.value:.1f} %, character error rate {100 * one.characters.value:.1f} %"
    progress = done.stderr.splitlines()
    assert [line.partition(":")[0] for line in progress[:2]] == ["greedy", "beam without language model"]
    assert progress[2:] == [
        f"lm_weight 0.75, word_score 1: {rates}",
        "lm_weight 0.75, word_score 2: word error rate 0.0 %, character error rate 0.0 %",
    ]
    assert "best: lm_weight 0.75, word_score 2, with beam_width 20" in lines
    assert "the best pair lies at the end of the range of word_score: a wider range may hold a better one" in lines
    (command,) = (line.split() for line in lines if line.startswith("  shrota transcribe "))
    options = command[2:-1]
    score = shrota("score", manifest, "--server", tuned_server.grpc_url, *options)
    assert "word error rate 0.0 %" in score.stdout
    config = {line.split('"')[1]: line.split('"')[3] for line in lines if line.startswith("  parameters {")}
    assert config == {"beam_width": "20", "lm_weight": "0.75", "word_score": "2"}
    assert read_settings(config).defaults.lm_weight == 0.75


def test_a_progress_bar_where_there_is_a_terminal(tuned_server: TritonServer, manifest: Path) -> None:
    terminal, side = pty.openpty()
    termios.tcsetwinsize(side, (24, 100))
    command = [str(Path(sys.executable).with_name("shrota")), "tune-decoder", str(manifest)]
    command += ["--server", tuned_server.grpc_url, "--beam-width", "5"]
    command += ["--lm-weight", "0.75", "--word-score", "1", "--refine", "0"]
    subprocess.run(command, stdout=subprocess.DEVNULL, stderr=side, check=True, timeout=60)
    shown = os.read(terminal, 100_000).decode("utf-8")
    os.close(terminal)
    os.close(side)
    assert "listening: 100%" in shown
    assert "3/3" in shown
    # three utterances greedily, without the model and with it
    assert "lm_weight 0.75, word_score 1: 100%" in shown
    assert "9/9" in shown


def test_a_pair_that_does_not_help_is_said(tuned_server: TritonServer, manifest: Path, tmp_path: Path) -> None:
    greedy = tmp_path / "greedy.jsonl"
    heard = shrota("transcribe", manifest, "--server", tuned_server.grpc_url).stdout.splitlines()
    rows = (line.split("\t") for line in heard)
    greedy.write_text("\n".join(json.dumps({"audio": name, "text": text}) for name, text in rows), encoding="utf-8")
    done = shrota("tune-decoder", greedy, "--server", tuned_server.grpc_url, "--lm-weight", "5", "--word-score", "0")
    assert "no pair makes fewer errors than decoding without the language model: set lm_weight 0" in done.stdout


def test_a_server_without_a_language_model_is_one_line(server: TritonServer, manifest: Path) -> None:
    done = shrota("tune-decoder", manifest, "--server", server.grpc_url)
    assert (done.returncode, done.stdout) == (1, "")
    (line,) = done.stderr.splitlines()
    assert line.startswith("shrota: error: parameters `lm_weight` and `word_score` need a language model")
    assert "install one with `shrota export lm FILE`" in line


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--lm-weight", "0.2:11:5"], "parameter `lm_weight` must be a number from 0 to 10, not 10.2"),
        # only the second refinement would reach it
        (["--lm-weight", "4:12:5", "--refine", "2"], "parameter `lm_weight` must be a number from 0 to 10, not 11.5"),
        (["--word-score", "-30:1:1"], "parameter `word_score` must be a number from -20 to 20, not -30"),
        (["--hotword", "x"], "hotword 'x' cannot be spelled"),
    ],
)
def test_what_the_server_refuses_is_said_after_the_first_utterance(
    tuned_server: TritonServer, manifest: Path, arguments: list[str], message: str
) -> None:
    before = statistics(tuned_server.http_url, "acoustic")["inference_count"]
    done = shrota("tune-decoder", manifest, "--server", tuned_server.grpc_url, "-j", "1", *arguments)
    assert (done.returncode, done.stdout) == (1, "")
    (line,) = done.stderr.splitlines()
    assert message in line
    # the second utterance is on its way while the first is decoded
    assert statistics(tuned_server.http_url, "acoustic")["inference_count"] - before < len(AUDIOS)


def test_the_weights_of_a_beam_with_hotwords(
    tuned_server: TritonServer, decoder: Decoder, manifest: Path, tmp_path: Path
) -> None:
    """The hotwords count in every beam, and greedy decoding does without."""
    word = decoded(decoder)[0].split()[0]
    (tmp_path / "words.txt").write_text("कख:3\n", encoding="utf-8")
    arguments = ["--beam-width", "20", "--lm-weight", "0.75", "--word-score", "2", "--refine", "0", "--json"]
    arguments += ["--hotword", word, "--hotwords-file", str(tmp_path / "words.txt"), "--hotword-weight", "50"]
    done = shrota("tune-decoder", manifest, "--server", tuned_server.grpc_url, *arguments)
    assert done.returncode == 0, done.stderr
    report: dict[str, Any] = json.loads(done.stdout)
    favoured: dict[str, float | str] = {"hotwords": json.dumps([word, ["कख", 3]]), "hotword_weight": 50}
    texts = decoded(decoder, **BEAM, lm_weight=0.75, word_score=2, **favoured)
    assert report["best"]["word_error_rate"] == scored(manifest, texts).words.value > 0
    texts = decoded(decoder, **BEAM, lm_weight=0, **favoured)
    assert report["without_language_model"]["word_error_rate"] == scored(manifest, texts).words.value
    assert report["greedy"]["word_error_rate"] == scored(manifest, decoded(decoder)).words.value
    assert (report["hotwords"], report["hotword_weight"]) == ([word, ["कख", 3.0]], 50)
    assert "the best pair was found with hotwords (2): give the same ones with it" in report["cautions"]


def test_recordings_that_fail_are_named_and_nothing_is_tuned_without_them(
    tuned_server: TritonServer, manifest: Path, tmp_path: Path
) -> None:
    good = [json.loads(line) for line in manifest.read_text(encoding="utf-8").splitlines()]
    rows = [{"audio": str(manifest.parent / each["audio"]), "text": each["text"]} for each in good]
    rows.insert(1, {"audio": "missing.wav", "text": "क"})
    broken = tmp_path / "broken.jsonl"
    broken.write_text("\n".join(map(json.dumps, rows)), encoding="utf-8")
    done = shrota("tune-decoder", broken, "--server", tuned_server.grpc_url)
    assert (done.returncode, done.stdout) == (1, "")
    first, second = done.stderr.splitlines()
    assert first == "shrota: error: 1 of 4 files failed:"
    assert second.endswith("missing.wav: check the path")


@pytest.mark.parametrize(
    ("content", "arguments", "message"),
    [
        ("", [], "is empty: write one line"),
        ('{"audio": "a.wav"}', [], 'line 1: there is no "text" with the reference'),
        ('{"audio": "a.wav", "text": "।"}', [], "has a word: write what is said in the audio"),
        ('{"audio": "a.wav", "text": "क"}', ["--beam-width", "1"], "give 2 or more"),
        ('{"audio": "a.wav", "text": "क"}', ["--lm-weight", "0:1"], "write LOW:HIGH:STEP"),
        ('{"audio": "a.wav", "text": "क"}', ["--lm-weight", "0:1:0.1"], "begin at 0.01 or more"),
        (
            '{"audio": "a.wav", "text": "क"}',
            ["-p", "lm_weight=1"],
            "tune-decoder sets the parameter lm_weight itself: give its range with --lm-weight",
        ),
        ('{"audio": "a.wav", "text": "क"}', ["-p", "hotwords=क"], "give --hotword or --hotwords-file"),
        ('{"audio": "a.wav", "text": "क"}', ["-p", "words=true"], "sets the parameter words itself: leave it out"),
        ('{"audio": "a.wav", "text": "क"}', ["-p", "n_best=2"], "only the best reading is scored"),
        ('{"audio": "a.wav", "text": "क"}', ["--hotword", " "], "a hotword is empty"),
        ('{"audio": "0.wav", "text": "क"}', [], "no server at 127.0.0.1:9: start one with `shrota serve`"),
    ],
)
def test_mistakes_are_one_line(
    manifest: Path, tmp_path: Path, content: str, arguments: list[str], message: str
) -> None:
    path = tmp_path / "set.jsonl"
    path.write_text(content, encoding="utf-8")
    soundfile.write(tmp_path / "0.wav", AUDIOS[0], 16000)
    done = shrota("tune-decoder", path, "--server", "127.0.0.1:9", *arguments)
    assert (done.returncode, done.stdout) == (1, "")
    (line,) = done.stderr.splitlines()
    assert line.startswith("shrota: error: ")
    assert message in line
