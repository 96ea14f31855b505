"""What a command line names: files, folders, globs, manifests, standard input."""

import io
import sys
from pathlib import Path, PurePath

import pytest

from shrota_client import AudioError, ManifestError
from shrota_client.inputs import find_sources
from shrota_client.manifest import read_manifest


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working folder with some audio in it, by name only."""
    for name in ["b.wav", "a.MP3", "c.txt", ".hidden.wav", "deep/er/d.opus", ".git/e.wav"]:
        path = tmp_path / "calls" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"x")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def names(*arguments: str) -> list[str]:
    return [source.name for source in find_sources(arguments)]


def test_files_keep_the_order_of_the_arguments(folder: Path) -> None:
    assert names("calls/c.txt", "calls/b.wav", "nothing.wav") == ["calls/c.txt", "calls/b.wav", "nothing.wav"]


def test_a_folder_is_searched_through_for_audio(folder: Path) -> None:
    sources = find_sources(["calls"])
    assert [source.name for source in sources] == ["calls/a.MP3", "calls/b.wav", "calls/deep/er/d.opus"]
    assert [source.place for source in sources] == [PurePath("a.MP3"), PurePath("b.wav"), PurePath("deep/er/d.opus")]


def test_a_glob_is_sorted(folder: Path) -> None:
    assert names("calls/**/*.*") == ["calls/a.MP3", "calls/b.wav", "calls/c.txt", "calls/deep/er/d.opus"]
    assert names("calls/[ab].*") == ["calls/a.MP3", "calls/b.wav"]


def test_a_file_whose_name_looks_like_a_glob_is_that_file(folder: Path) -> None:
    Path("take[1].wav").write_bytes(b"x")
    assert names("take[1].wav") == ["take[1].wav"]


def test_a_manifest_names_files_from_its_own_folder(folder: Path) -> None:
    Path("calls/set.jsonl").write_text(
        '{"audio": "b.wav"}\n\n{"audio": "../x/y.wav", "text": "हाँ"}\n', encoding="utf-8"
    )
    sources = find_sources(["calls/set.jsonl"])
    assert [source.name for source in sources] == ["calls/b.wav", "calls/../x/y.wav"]
    # nothing can lead out of an output folder
    assert [source.place for source in sources] == [PurePath("b.wav"), PurePath("x/y.wav")]


def test_standard_input_is_read_once(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(b"audio")))
    (source,) = find_sources(["-"])
    assert isinstance(source.audio, io.BytesIO)
    assert source.audio.read() == b"audio"
    with pytest.raises(AudioError, match="standard input is named twice"):
        find_sources(["-", "-"])


def test_a_terminal_is_no_audio(monkeypatch: pytest.MonkeyPatch) -> None:
    class Terminal(io.TextIOWrapper):
        def isatty(self) -> bool:
            return True

    monkeypatch.setattr(sys, "stdin", Terminal(io.BytesIO()))
    with pytest.raises(AudioError, match="standard input is a terminal"):
        find_sources(["-"])


def test_a_folder_or_glob_without_audio_is_said_at_once(folder: Path) -> None:
    Path("empty").mkdir()
    with pytest.raises(AudioError, match=r"the folder empty has no audio files \(looked for \.aif"):
        find_sources(["empty"])
    with pytest.raises(AudioError, match=r"no file matches '\*\.flac'"):
        find_sources(["*.flac"])


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", r"set\.jsonl is empty: write one line"),
        (b"\n \n", r"set\.jsonl is empty"),
        (b'{"audio": "a.wav"}\nnonsense\n', r"set\.jsonl, line 2: this is not JSON"),
        (b'\n["a.wav"]\n', r"set\.jsonl, line 2: this is not a JSON object"),
        (b'{"path": "a.wav"}', r'set\.jsonl, line 1: there is no "audio" with a path'),
        (b'{"audio": ""}', r'line 1: there is no "audio"'),
        (b'{"audio": "a.wav", "text": 5}', r'line 1: there is no "text"'),
        ('{"audio": "आ.wav"}'.encode("utf-16"), r"set\.jsonl is not UTF-8 at byte 0"),
    ],
)
def test_manifests_that_are_none(tmp_path: Path, content: bytes, message: str) -> None:
    path = tmp_path / "set.jsonl"
    path.write_bytes(content)
    with pytest.raises(ManifestError, match=message):
        read_manifest(path)


def test_a_missing_manifest(tmp_path: Path) -> None:
    with pytest.raises(ManifestError, match=r"cannot read .*set\.jsonl: No such file"):
        read_manifest(tmp_path / "set.jsonl")


def test_references_may_be_demanded_and_may_be_empty(tmp_path: Path) -> None:
    path = tmp_path / "set.jsonl"
    path.write_text('{"audio": "a.wav", "text": ""}\n{"audio": "b.wav"}', encoding="utf-8")
    assert [utterance.text for utterance in read_manifest(path)] == ["", None]
    with pytest.raises(ManifestError, match=r'line 2: there is no "text" with the reference'):
        read_manifest(path, need_text=True)


def test_a_byte_order_mark_and_odd_line_separators_do_no_harm(tmp_path: Path) -> None:
    path = tmp_path / "set.jsonl"
    path.write_bytes('\ufeff{"audio": "a.wav", "text": "एक\u2028दो"}\r\n'.encode())
    (utterance,) = read_manifest(path)
    assert utterance.text == "एक\u2028दो"
