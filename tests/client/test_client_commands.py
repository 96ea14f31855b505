"""The commands ``shrota transcribe`` and ``shrota score`` as a user runs them, against a server in this process."""

import io
import json
import os
import pty
import re
import signal
import subprocess
import sys
import termios
import threading
import time
from collections.abc import Iterator, Mapping
from pathlib import Path

import click
import numpy as np
import pytest
import soundfile

from shrota_client import AsyncClient, Client, RequestError, cli
from shrota_client.commands.options import parse_parameter
from shrota_client.commands.transcribe import transcribe
from shrota_client.failures import NO_CONNECTION, Failure, error_of
from shrota_decoder.parameters import Limits, Parameters, check_names, read_parameters
from shrota_testing import fake_triton
from shrota_testing.fake_triton import Answer, FakeTriton, Seen, serve

TEXTS = {1: "एक", 2: "मेरा नाम राम है", 3: "तीन"}
"""What the server hears in audio of so many seconds."""


def hear(seen: Seen) -> Answer:
    if seen.parameters.get("engine") == "none":
        return ("INVALID_ARGUMENT", "unknown engine 'none': use acoustic_onnx")
    return TEXTS[seen.samples.size // 16000]


@pytest.fixture
def fake() -> FakeTriton:
    return FakeTriton(hear)


@pytest.fixture
def server(fake: FakeTriton, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    with serve("grpc", fake) as url:
        monkeypatch.setenv("SHROTA_SERVER", url)
        yield url


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working folder with audio of 1, 2 and 3 s and a manifest; the last reference is wrong."""
    for seconds in TEXTS:
        soundfile.write(tmp_path / f"{seconds}.wav", np.zeros(8000 * seconds), 8000)
    references = {1: "एक।", 2: "मेरा काम राम है", 3: "तीन"}
    lines = (json.dumps({"audio": f"{seconds}.wav", "text": text}) for seconds, text in references.items())
    (tmp_path / "set.jsonl").write_text("\n".join(lines), encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    return tmp_path


class Shrota:
    """Runs the command line in this process."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
        self._monkeypatch = monkeypatch
        self._capsys = capsys
        self.out = self.err = ""

    def __call__(self, *arguments: str) -> int:
        """The exit code; what was printed is in ``out`` and ``err``."""
        self._monkeypatch.setattr(sys, "argv", ["shrota", *arguments])
        with pytest.raises(SystemExit) as caught:
            cli.main()
        self.out, self.err = self._capsys.readouterr()
        return int(caught.value.code or 0)


@pytest.fixture
def shrota(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Shrota:
    return Shrota(monkeypatch, capsys)


def test_help_lists_the_commands(shrota: Shrota) -> None:
    assert shrota("--help") == 0
    assert "transcribe" in shrota.out
    assert "score" in shrota.out


def test_one_file_prints_its_transcript(shrota: Shrota, server: str, folder: Path) -> None:
    assert shrota("transcribe", "2.wav") == 0
    assert shrota.out == "मेरा नाम राम है\n"
    assert shrota.err == ""


def test_files_folders_and_manifests_together(shrota: Shrota, server: str, folder: Path) -> None:
    assert shrota("transcribe", "3.wav", "set.jsonl", "[12].wav", str(folder)) == 0
    names = [line.split("\t")[0] for line in shrota.out.splitlines()]
    assert names == ["3.wav", "1.wav", "2.wav", "3.wav", "1.wav", "2.wav", *(f"{folder}/{n}.wav" for n in (1, 2, 3))]


def test_standard_input(shrota: Shrota, server: str, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(Path("3.wav").read_bytes())))
    assert shrota("transcribe", "-") == 0
    assert shrota.out == "तीन\n"


def test_options_become_request_parameters(shrota: Shrota, server: str, folder: Path, fake: FakeTriton) -> None:
    options = ["--engine", "acoustic_trt", "-p", "beam_width=32", "-p", "lm_weight=0.5", "-p", "hotwords=राम,सीता"]
    assert shrota("transcribe", "1.wav", "--timeout", "7", *options) == 0
    parameters = fake.seen[0].parameters
    assert 6e6 < parameters.pop("timeout") <= 7e6
    assert parameters == {"engine": "acoustic_trt", "beam_width": 32, "lm_weight": 0.5, "hotwords": "राम,सीता"}


@pytest.mark.parametrize(
    ("pair", "expected"),
    [
        ("a=1", ("a", 1)),
        ("a=1.5", ("a", 1.5)),
        ("a=true", ("a", True)),
        ("a=b=c", ("a", "b=c")),
        ("a=", ("a", "")),
        ("a=[1]", ("a", "[1]")),
    ],
)
def test_parameter_values(pair: str, expected: tuple[str, object]) -> None:
    assert parse_parameter(pair) == expected


def test_a_failed_file_costs_no_other(shrota: Shrota, server: str, folder: Path) -> None:
    Path("text.wav").write_text("no audio", encoding="utf-8")
    assert shrota("transcribe", "missing.wav", "1.wav", "text.wav", "3.wav") == 1
    assert shrota.out == "1.wav\tएक\n3.wav\tतीन\n"
    first, missing, text = shrota.err.splitlines()
    assert first == "shrota: error: 2 of 4 files failed:"
    assert missing == "  there is no file missing.wav: check the path"
    assert text.startswith("  text.wav is not audio that libsndfile reads")


def test_a_refused_request_is_one_line(shrota: Shrota, server: str, folder: Path) -> None:
    assert shrota("transcribe", "1.wav", "--engine", "none") == 1
    assert shrota.err == "shrota: error: unknown engine 'none': use acoustic_onnx\n"


def test_no_server_is_one_line_however_many_files(shrota: Shrota, folder: Path) -> None:
    for command in (["transcribe", "1.wav", "2.wav", "3.wav"], ["score", "set.jsonl"]):
        assert shrota(*command, "--server", "127.0.0.1:9") == 1
        assert shrota.out == ""
        assert shrota.err == (
            "shrota: error: no server at 127.0.0.1:9: start one with `shrota serve`, "
            "or give another address (--server, SHROTA_SERVER)\n"
        )


@pytest.mark.parametrize(
    "answer",
    [
        ("UNAVAILABLE", "the engine is being reloaded"),
        ("UNAVAILABLE", "the request's time-out passed before the engine had run it: try again later"),
        ("INTERNAL", "Stub process 'asr_0_0' is not healthy."),
    ],
)
def test_a_first_file_that_the_server_drops_costs_no_other(
    shrota: Shrota, folder: Path, answer: tuple[str, str]
) -> None:
    def drop_first(seen: Seen) -> Answer:
        return answer if seen.samples.size == 16000 else hear(seen)

    with serve("grpc", FakeTriton(drop_first)) as url:
        assert shrota("transcribe", "1.wav", "2.wav", "3.wav", "--server", url) == 1
    assert shrota.out == "2.wav\tमेरा नाम राम है\n3.wav\tतीन\n"
    first, second = shrota.err.splitlines()
    assert first == "shrota: error: 1 of 3 files failed:"
    assert second.startswith("  1.wav: ")


def test_a_server_that_has_answered_is_not_given_up(
    shrota: Shrota, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It refuses the first file; then no connection can be made for the second."""

    def first_answered(audio: object) -> Failure:
        return Failure("INVALID_ARGUMENT", "too long") if str(audio) == "1.wav" else Failure(NO_CONNECTION, "refused")

    async def fail(client: AsyncClient, audio: object, *_: object) -> None:
        raise error_of(first_answered(audio), client.address)

    monkeypatch.setattr(AsyncClient, "transcribe", fail)
    assert shrota("transcribe", "1.wav", "2.wav", "3.wav") == 1
    first, *others = shrota.err.splitlines()
    assert first == "shrota: error: 3 of 3 files failed:"
    assert [line.split(":")[0] for line in others] == ["  1.wav", "  2.wav", "  3.wav"]


def test_what_all_files_fail_for_is_said_once(shrota: Shrota, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async def fail(*_: object) -> None:
        raise RequestError("unknown request parameter 'beamwidth'")

    monkeypatch.setattr(AsyncClient, "transcribe", fail)
    assert shrota("transcribe", "1.wav", "2.wav", "3.wav") == 1
    assert shrota.err == "shrota: error: all 3 files failed: unknown request parameter 'beamwidth'\n"


def test_without_a_server_files_that_failed_before_are_still_said(shrota: Shrota, folder: Path) -> None:
    assert shrota("transcribe", "missing.wav", "1.wav", "2.wav", "--server", "127.0.0.1:9") == 1
    first, missing, last = shrota.err.splitlines()
    assert first == "shrota: error: 1 of 3 files failed:"
    assert missing == "  there is no file missing.wav: check the path"
    assert last.startswith("shrota: error: no server at 127.0.0.1:9: ")


def test_examples_are_what_the_server_of_this_repository_takes() -> None:
    root = Path(__file__).resolve().parents[2]
    texts = [
        (root / "client" / "README.md").read_text(encoding="utf-8"),
        Client.__doc__ or "",
        *(option.help or "" for option in transcribe.params if isinstance(option, click.Option)),
    ]
    engines = {match for text in texts for match in re.findall(r"\bacoustic_\w+", text)}
    assert engines
    assert all((root / "model_repository" / engine / "config.pbtxt").is_file() for engine in engines)
    pairs = [pair for text in texts for pair in re.findall(r"(?:-p |such as )(\w+=\w+)", text)]
    objects = [each for text in texts for each in re.findall(r"\{\"(?!audio)\w+\": [^{}]*\}(?=`|\))", text)]
    assert pairs
    assert objects
    for parameters in [dict(map(parse_parameter, pairs)), *map(json.loads, objects)]:
        read_parameters(parameters, Parameters(beam_width=32), Limits())
        check_names(parameters, ())


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["1.wav", "--server", "ftp://x"], "has the unknown scheme 'ftp'"),
        (["1.wav", "--timeout", "0"], "must be a positive number of seconds"),
        (["1.wav", "-p", "beam"], "is not NAME=VALUE"),
        (["1.wav", "-p", "priority=1"], "reserved by Triton"),
        (["1.wav", "--ca-cert", "missing.pem"], "cannot read the TLS file missing.pem"),
        (["1.wav", "--client-cert", "1.wav"], "belong together"),
        (["1.wav", "2.wav", "-f", "srt"], "give a folder with --output FOLDER/"),
        (["missing.jsonl"], "cannot read missing.jsonl"),
    ],
)
def test_mistakes_are_one_line(shrota: Shrota, server: str, folder: Path, arguments: list[str], message: str) -> None:
    assert shrota("transcribe", *arguments) == 1
    assert shrota.err.startswith("shrota: error: ")
    assert message in shrota.err
    assert shrota.err.count("\n") == 1


DECODER_OPTIONS = [
    *("--beam-width", "32"),
    *("--lm-weight", "0.1"),
    *("--word-score", "-1"),
    *("--hotword", "राम", "--hotword", "सीता:2.5"),
    *("--hotword-weight", "8"),
    *("--n-best", "3"),
    "--no-words",
]
DECODER_PARAMETERS = {
    "beam_width": 32,
    "lm_weight": 0.1,
    "word_score": -1.0,
    "hotwords": '["राम", ["सीता", 2.5]]',
    "hotword_weight": 8.0,
    "n_best": 3,
    "words": False,
}


@pytest.mark.parametrize("scheme", ["grpc", "http"])
@pytest.mark.parametrize("command", [["transcribe", "1.wav"], ["score", "set.jsonl"]])
def test_options_of_the_decoder_become_request_parameters(
    shrota: Shrota, folder: Path, fake: FakeTriton, scheme: str, command: list[str]
) -> None:
    with serve(scheme, fake) as url:
        assert shrota(*command, "--server", url, "--engine", "acoustic_trt", *DECODER_OPTIONS) == 0
    for seen in fake.seen:
        del seen.parameters["timeout"]
        assert seen.parameters == {**DECODER_PARAMETERS, "engine": "acoustic_trt"}
        assert {name: type(seen.parameters[name]) for name in DECODER_PARAMETERS} == {
            name: type(value) for name, value in DECODER_PARAMETERS.items()
        }
    assert len(fake.seen) == (1 if command[0] == "transcribe" else 3)


def test_hotwords_of_a_file_are_added_to_those_of_the_command(
    shrota: Shrota, server: str, folder: Path, fake: FakeTriton
) -> None:
    Path("names.txt").write_text("काशी:8\n\nराम मनोहर\n", encoding="utf-8")
    assert shrota("transcribe", "1.wav", "--hotwords-file", "names.txt", "--hotword", "राम") == 0
    assert fake.seen[0].parameters["hotwords"] == '["राम", ["काशी", 8.0], "राम मनोहर"]'


def test_json_shows_the_alternatives(
    shrota: Shrota, server: str, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    alternatives = [{"text": "एक", "score": -1.5}, {"text": "नेक", "score": -2.5}]

    def tensor(text: str, duration: float) -> bytes:
        """What a server answers to n_best=2 and words=false."""
        fields = {"text": text, "confidence": 0.5, "duration": duration, "words": [], "alternatives": alternatives}
        content = json.dumps(fields).encode()
        return len(content).to_bytes(4, "little") + content

    monkeypatch.setattr(fake_triton, "result_tensor", tensor)
    for output_format in ("json", "jsonl"):
        assert shrota("transcribe", "1.wav", "-f", output_format, "--n-best", "2", "--no-words") == 0
        fields = json.loads(shrota.out)
        (each,) = fields if output_format == "json" else [fields]
        assert each["alternatives"] == alternatives
        assert each["words"] == []
    assert shrota("transcribe", "1.wav", "--n-best", "2", "--no-words") == 0
    assert shrota.out == "एक\n"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--beam-width", "0"], "beam_width is 0: give 1 or more"),
        (["--beam-width", "9" * 30], "the request parameter 'beam_width' does not fit into 64 bits: " + "9" * 30),
        (["--n-best", "0"], "n_best is 0: give 1 or more"),
        (
            ["--n-best", "3", "--beam-width", "2"],
            "n_best is 3, but a search with beam_width 2 ends with no more than 2: raise beam_width, or lower n_best",
        ),
        (["--lm-weight", "nan"], "lm_weight is no finite number: give one"),
        (["--word-score", "-inf"], "word_score is no finite number: give one"),
        (["--hotword", ""], "a hotword is empty: give a word or phrase, or leave it out"),
        (
            ["--hotword", "राम:x1"],
            "the hotword 'राम:x1' has no number after its colon: write WORD or WORD:BOOST, such as काशी:8",
        ),
        (
            ["--hotword", "\udcff"],
            "the request parameter 'hotwords' is '[\"\\udcff\"]', which is not UTF-8: write it again",
        ),
        (["--hotwords-file", "missing.txt"], "cannot read missing.txt: No such file or directory"),
        (["--hotwords-file", "1.wav"], "1.wav is not UTF-8 at byte 4: convert it"),
        (
            ["--beam-width", "2", "-p", "beam_width=2"],
            "beam_width is given twice, as a request parameter and for the decoder: give it once",
        ),
        (["--hotword-weight", "5"], "hotword_weight has no effect without hotwords: give some, or no hotword_weight"),
        (
            ["--beam-width", "1", "-p", "lm_weight=0.5"],
            "lm_weight has no effect on greedy decoding: raise beam_width, or give no lm_weight",
        ),
        (
            ["--lm-weight", "0", "--word-score", "2"],
            "word_score has no effect with lm_weight 0: give lm_weight above 0, or no word_score",
        ),
    ],
)
@pytest.mark.parametrize("command", [["transcribe", "1.wav"], ["score", "set.jsonl"]])
@pytest.mark.usefixtures("server", "folder")
def test_mistakes_in_options_of_the_decoder_are_one_line(
    shrota: Shrota, fake: FakeTriton, command: list[str], arguments: list[str], message: str
) -> None:
    assert shrota(*command, *arguments) == 1
    assert shrota.err == f"shrota: error: {message}\n"
    assert shrota.out == ""
    assert fake.seen == []


@pytest.mark.parametrize("option", ["--beam-width", "--n-best", "--lm-weight", "--word-score", "--hotword-weight"])
def test_options_of_the_decoder_that_are_no_numbers(shrota: Shrota, server: str, folder: Path, option: str) -> None:
    assert shrota("transcribe", "1.wav", option, "wide") == 2
    assert shrota.err.splitlines()[-1].startswith(f"Error: Invalid value for '{option}': 'wide' is not a valid ")


@pytest.mark.parametrize("output_format", ["srt", "vtt"])
@pytest.mark.parametrize("option", [["--no-words"], ["-p", "words=false"], ["-p", "words=False"], ["-p", "words=0"]])
@pytest.mark.usefixtures("server", "folder")
def test_subtitles_need_the_times_of_words(
    shrota: Shrota, fake: FakeTriton, output_format: str, option: list[str]
) -> None:
    assert shrota("transcribe", "1.wav", "-f", output_format, "-o", "out.srt", *option) == 1
    assert shrota.err == (
        f"shrota: error: {output_format} needs the times of words: leave out --no-words (words=false), "
        "or choose another format\n"
    )
    assert fake.seen == []
    assert not Path("out.srt").exists()


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["-f", "srt"], True),
        (["-f", "vtt", "--words"], True),
        (["-f", "srt", "-p", "words=1"], 1),
        (["-f", "json", "--words"], True),
        (["-f", "json", "--no-words"], False),
        (["-f", "json"], None),
    ],
)
@pytest.mark.usefixtures("server", "folder")
def test_words_are_asked_for_where_they_are_needed_or_wanted(
    shrota: Shrota, fake: FakeTriton, arguments: list[str], words: object
) -> None:
    """The server may be set up to answer none."""
    assert shrota("transcribe", "1.wav", *arguments) == 0
    assert fake.seen[0].parameters.get("words") == words


def test_subtitles_into_a_folder(shrota: Shrota, server: str, folder: Path) -> None:
    assert shrota("transcribe", "set.jsonl", "-f", "vtt", "-o", "out/") == 0
    assert sorted(path.name for path in Path("out").iterdir()) == ["1.vtt", "2.vtt", "3.vtt"]
    assert Path("out/1.vtt").read_text(encoding="utf-8") == "WEBVTT\n\n00:00:00.000 --> 00:00:01.000\nएक\n"


def test_score_of_a_server(shrota: Shrota, server: str, folder: Path) -> None:
    assert shrota("score", "set.jsonl", "--details") == 0
    lines = shrota.out.splitlines()
    assert lines[0] == "1.wav (1.0 s)"
    assert lines[1:3] == ["  transcript  एक", "  reference   एक"]
    assert lines[3].startswith("  word error rate 0.0 %, character error rate 0.0 %, real-time factor 0.")
    assert "total: 3 utterances, 6.0 s of audio in " in shrota.out
    assert (
        "word error rate 16.7 % (95 % interval 0.0 to 25.0 %): 1 substituted, 0 deleted, 0 inserted, of 6 words"
        in lines
    )
    assert lines[-1].strip() == "मेरा [-काम-]{+नाम+} राम है"


def test_score_as_json(shrota: Shrota, server: str, folder: Path) -> None:
    assert shrota("score", "set.jsonl", "--json", "--details") == 0
    report = json.loads(shrota.out)
    assert report["word_error_rate"]["value"] == pytest.approx(1 / 6)
    assert report["word_error_rate"]["substitutions"] == 1
    assert report["word_error_rate"]["reference_length"] == 6
    assert report["interval"]["seed"] == 0
    assert report["failed"] == []
    assert [utterance["word_error_rate"] for utterance in report["utterances"]] == [0, 0.25, 0]
    assert all(utterance["real_time_factor"] > 0 for utterance in report["utterances"])


def test_score_of_transcripts_made_before(shrota: Shrota, server: str, folder: Path, fake: FakeTriton) -> None:
    assert shrota("transcribe", "set.jsonl", "-f", "jsonl", "-o", "heard.jsonl") == 0
    before = len(fake.seen)
    assert shrota("score", "set.jsonl", "--hypotheses", "heard.jsonl", "--details") == 0
    assert len(fake.seen) == before
    assert "word error rate 16.7 %" in shrota.out
    assert "real-time factor" in shrota.out


def test_transcripts_that_do_not_cover_the_manifest(shrota: Shrota, folder: Path) -> None:
    hypotheses = Path("heard.jsonl")
    hypotheses.write_text('{"audio": "1.wav", "text": "एक"}\n', encoding="utf-8")
    assert shrota("score", "set.jsonl", "--hypotheses", "heard.jsonl") == 1
    assert "has no transcript of 2.wav and 1 others of 3" in shrota.err
    hypotheses.write_text('{"audio": "1.wav", "error": "no such file"}\n', encoding="utf-8")
    assert shrota("score", "set.jsonl", "--hypotheses", "heard.jsonl") == 1
    assert "heard.jsonl, line 1: it failed (no such file): transcribe 1.wav again" in shrota.err


@pytest.mark.parametrize(
    ("arguments", "name"),
    [
        (["--server", "127.0.0.1:9"], "--server"),
        (["-p", "beam_width=8"], "--parameter"),
        (["--hotword", "राम"], "--hotword"),
        (["--no-words"], "--words/--no-words"),
    ],
)
def test_options_of_a_server_and_transcripts_exclude_each_other(
    shrota: Shrota, folder: Path, arguments: list[str], name: str
) -> None:
    assert shrota("score", "set.jsonl", "--hypotheses", "x.jsonl", *arguments) == 2
    assert f"Error: --hypotheses and {name} exclude each other\n" in shrota.err


def test_utterances_that_fail_are_not_scored_and_said(shrota: Shrota, server: str, folder: Path) -> None:
    Path("2.wav").unlink()
    assert shrota("score", "set.jsonl") == 1
    assert "total: 2 utterances" in shrota.out
    assert "1 of 3 files failed" in shrota.err


def run_shrota(
    *arguments: str, environment: Mapping[str, str] | None = None, stdout: int = subprocess.PIPE
) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-c", "from shrota_client.cli import main; main()", *arguments]
    return subprocess.Popen(
        command,
        env={**os.environ, **(environment or {})},
        stdout=stdout,
        stderr=subprocess.PIPE,
        stdin=subprocess.DEVNULL,
    )


def test_output_is_utf8_in_a_locale_that_is_not(server: str, folder: Path) -> None:
    locale = {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0", "PYTHONIOENCODING": ""}
    out, err = run_shrota("transcribe", "2.wav", environment=locale).communicate(timeout=60)
    assert err == b""
    assert out.decode("utf-8") == "मेरा नाम राम है\n"


@pytest.fixture(params=["", "1"], ids=["buffered", "unbuffered"])
def unbuffered(request: pytest.FixtureRequest) -> dict[str, str]:
    """With a buffer, what could not be written fails again when the interpreter ends."""
    return {"PYTHONUNBUFFERED": request.param}


@pytest.fixture
def full() -> Iterator[int]:
    """A file for which there is no room."""
    descriptor = os.open("/dev/full", os.O_WRONLY)
    yield descriptor
    os.close(descriptor)


def no_room(place: str) -> str:
    """What is said of a place that is full."""
    remedy = "check that it may be written and has room, or choose another place"
    return f"shrota: error: cannot write {place} (No space left on device): {remedy}\n"


@pytest.mark.parametrize(
    "arguments",
    [
        ["score", "set.jsonl", "--hypotheses", "set.jsonl"],
        ["score", "set.jsonl", "--hypotheses", "set.jsonl", "--json"],
        ["score", "set.jsonl", "--details"],
        ["transcribe", "1.wav"],
        ["transcribe", "1.wav", "2.wav", "-f", "json"],
    ],
)
def test_a_full_standard_output_is_one_line(
    arguments: list[str], server: str, folder: Path, full: int, unbuffered: dict[str, str]
) -> None:
    process = run_shrota(*arguments, stdout=full, environment=unbuffered)
    _, err = process.communicate(timeout=60)
    assert err.decode("utf-8") == no_room("standard output")
    assert process.returncode == 1


@pytest.mark.parametrize("output_format", ["text", "json"])
def test_a_full_output_file_is_one_line(shrota: Shrota, server: str, folder: Path, output_format: str) -> None:
    assert shrota("transcribe", "1.wav", "2.wav", "-f", output_format, "-o", "/dev/full") == 1
    assert shrota.err == no_room("/dev/full")


def test_a_help_text_without_room_is_one_line(full: int, unbuffered: dict[str, str]) -> None:
    process = run_shrota("--help", stdout=full, environment=unbuffered)
    _, err = process.communicate(timeout=60)
    assert err == (
        b"shrota: error: cannot write the output (No space left on device): make room there, or choose another place\n"
    )
    assert process.returncode == 1


def test_nobody_who_reads_is_no_news(folder: Path, unbuffered: dict[str, str]) -> None:
    reader, writer = os.pipe()
    os.close(reader)
    process = run_shrota("score", "set.jsonl", "--hypotheses", "set.jsonl", stdout=writer, environment=unbuffered)
    os.close(writer)
    _, err = process.communicate(timeout=60)
    assert err == b""
    assert process.returncode == 1


def test_a_progress_bar_where_there_is_a_terminal(server: str, folder: Path) -> None:
    terminal, side = pty.openpty()
    termios.tcsetwinsize(side, (24, 80))
    command = [sys.executable, "-c", "from shrota_client.cli import main; main()", "transcribe", "set.jsonl"]
    done = subprocess.run(command, stdout=subprocess.PIPE, stderr=side, check=True, timeout=60)
    shown = os.read(terminal, 100_000).decode("utf-8")
    os.close(terminal)
    os.close(side)
    assert "3/3" in shown
    assert len(done.stdout.splitlines()) == 3


@pytest.mark.parametrize("scheme", ["grpc", "http"])
def test_ctrl_c_ends_requests_on_their_way(scheme: str, folder: Path) -> None:
    arrived, release = threading.Event(), threading.Event()

    def hang(_: Seen) -> Answer:
        arrived.set()
        release.wait(30)
        return "never"

    with serve(scheme, FakeTriton(hang)) as url:
        process = run_shrota("transcribe", "1.wav", "2.wav", "--server", url)
        try:
            assert arrived.wait(30)
            start = time.monotonic()
            process.send_signal(signal.SIGINT)
            out, err = process.communicate(timeout=10)
        finally:
            process.kill()
            release.set()
    assert time.monotonic() - start < 5
    assert process.returncode == 1
    assert out == b""
    assert b"Traceback" not in err
