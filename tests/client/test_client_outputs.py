"""Where results go and how they look there."""

import json
import os
import sys
from pathlib import Path, PurePath

import pytest

from shrota_client import AudioError, OutputError, Result, Transcript, Word
from shrota_client.inputs import Source
from shrota_client.outputs import Output, output_names

HEARD = Transcript("मेरा नाम", 0.9, 2.0, (Word("मेरा", 0.5, 1.0, 0.9), Word("नाम", 1.0, 1.5, 0.9)), (), 0.1)
GOOD = Result("a.wav", HEARD)
BAD = Result("b.wav", error=AudioError("there is no file b.wav: check the path"))


def source(name: str) -> Source:
    return Source(name, Path(name), PurePath(name))


def write(output_format: str, target: str | None, *results: tuple[str, Result]) -> None:
    sources = [source(name) for name, _ in results]
    with Output(output_format, target, sources) as output:
        for each, (_, result) in zip(sources, results, strict=True):
            output.write(each, result)


def test_text_of_one_file_is_the_transcript_alone(capsys: pytest.CaptureFixture[str]) -> None:
    write("text", None, ("a.wav", GOOD))
    assert capsys.readouterr().out == "मेरा नाम\n"


def test_text_of_several_files_has_their_names(capsys: pytest.CaptureFixture[str]) -> None:
    write("text", None, ("a.wav", GOOD), ("b.wav", BAD), ("c.wav", GOOD))
    assert capsys.readouterr().out == "a.wav\tमेरा नाम\nc.wav\tमेरा नाम\n"


def test_json_is_always_one_array(capsys: pytest.CaptureFixture[str]) -> None:
    write("json", None, ("a.wav", GOOD), ("b.wav", BAD))
    assert json.loads(capsys.readouterr().out) == [
        {"audio": "a.wav", **HEARD.as_dict()},
        {"audio": "b.wav", "error": "there is no file b.wav: check the path"},
    ]
    write("json", None, ("a.wav", GOOD))
    assert len(json.loads(capsys.readouterr().out)) == 1
    write("json", None)
    assert json.loads(capsys.readouterr().out) == []


def test_json_lines_are_readable_as_they_are(capsys: pytest.CaptureFixture[str]) -> None:
    write("jsonl", None, ("a.wav", GOOD), ("b.wav", BAD))
    first, second = capsys.readouterr().out.splitlines()
    assert '"text": "मेरा नाम"' in first
    assert json.loads(first)["real_time_factor"] == 0.05
    assert json.loads(second)["error"].startswith("there is no file")


def test_a_file_takes_all_results(tmp_path: Path) -> None:
    path = tmp_path / "all.txt"
    write("text", str(path), ("a.wav", GOOD), ("c.wav", GOOD))
    assert path.read_bytes().decode("utf-8") == "a.wav\tमेरा नाम\nc.wav\tमेरा नाम\n"


def test_a_folder_takes_a_file_for_each_success(tmp_path: Path) -> None:
    write("srt", f"{tmp_path}/out/", ("deep/a.wav", GOOD), ("b.wav", BAD), ("c.wav", GOOD))
    files = sorted(str(path.relative_to(tmp_path)) for path in tmp_path.rglob("*") if path.is_file())
    assert files == ["out/c.srt", "out/deep/a.srt"]
    assert (tmp_path / "out/c.srt").read_text(encoding="utf-8").startswith("1\n00:00:00,500 --> 00:00:01,500\nमेरा नाम")


def test_a_folder_that_exists_needs_no_slash(tmp_path: Path) -> None:
    write("json", str(tmp_path), ("a.wav", GOOD))
    assert json.loads((tmp_path / "a.json").read_text(encoding="utf-8"))["text"] == "मेरा नाम"


@pytest.mark.parametrize("output_format", ["srt", "vtt"])
def test_subtitles_of_several_files_need_a_folder(output_format: str) -> None:
    with pytest.raises(OutputError, match=f"{output_format} holds one recording: for 2 of them, give a folder"):
        Output(output_format, "out.srt", [source("a.wav"), source("b.wav")])


def test_a_place_that_cannot_be_written_is_said_before_anything_is_sent(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x", encoding="utf-8")
    for target in (f"{tmp_path}/file/out.txt", f"{tmp_path}/file/out/", f"{tmp_path}/missing/out.txt"):
        with pytest.raises(OutputError, match="cannot write"), Output("text", target, [source("a.wav")]):
            pass


@pytest.mark.parametrize("output_format", ["text", "json", "jsonl", "srt", "vtt"])
def test_a_full_disk_is_one_line(output_format: str) -> None:
    with pytest.raises(OutputError, match=r"^cannot write /dev/full \(No space left on device\): check that .*$"):
        write(output_format, "/dev/full", ("a.wav", GOOD))


def test_a_full_disk_at_the_end_of_an_empty_array() -> None:
    with pytest.raises(OutputError, match="cannot write /dev/full"):
        write("json", "/dev/full")


def test_a_full_disk_under_a_folder(tmp_path: Path) -> None:
    (tmp_path / "a.txt").symlink_to("/dev/full")
    with pytest.raises(OutputError, match=r"cannot write .*/a\.txt \(No space left on device\)"):
        write("text", str(tmp_path), ("a.wav", GOOD))


def test_a_closed_standard_output(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdout", None)
    with pytest.raises(OutputError, match=r"^standard output is closed: open it, or name a file with --output$"):
        write("text", None, ("a.wav", GOOD))


def test_a_broken_pipe_stays_one(tmp_path: Path) -> None:
    """The command line ends without a word then, as others do."""
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    reader = os.open(pipe, os.O_RDONLY | os.O_NONBLOCK)

    def write_to_nobody() -> None:
        with Output("text", str(pipe), [source("a.wav")]) as output:
            os.close(reader)
            output.write(source("a.wav"), GOOD)

    with pytest.raises(BrokenPipeError):
        write_to_nobody()


def test_names_in_a_folder_never_collide() -> None:
    sources = [source(name) for name in ["a.wav", "b.wav", "b.mp3", "b.wav", "c/b.wav"]]
    assert [str(name) for name in output_names(sources, ".srt")] == [
        "a.srt",
        "b.wav.srt",
        "b.mp3.srt",
        "b.wav-2.srt",
        "c/b.srt",
    ]
