"""Hotwords as people write them."""

import re
from pathlib import Path

import pytest

from shrota_client import Hotword, ParameterError
from shrota_client.hotwords import parse_hotword, read_hotwords


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("राम", "राम"),
        ("राम मनोहर", "राम मनोहर"),
        ("राम:8", ("राम", 8.0)),
        ("राम  मनोहर : 2.5", ("राम मनोहर", 2.5)),
        ("राम:-1e-3", ("राम", -0.001)),
        ("राम:२", ("राम", 2.0)),
        ("दु:ख", "दु:ख"),
        ("दु:ख:3", ("दु:ख", 3.0)),
    ],
)
def test_a_word_and_its_boost(text: str, expected: Hotword) -> None:
    assert parse_hotword(text) == expected


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "a hotword is empty: give a word or phrase, or leave it out"),
        (" ", "a hotword is empty: give a word or phrase, or leave it out"),
        (":8", "a hotword is empty: give a word or phrase, or leave it out"),
        ("राम:", "the hotword 'राम:' has no number after its colon: write WORD or WORD:BOOST, such as काशी:8"),
        ("राम:1,5", "the hotword 'राम:1,5' has no number after its colon: write WORD or WORD:BOOST, such as काशी:8"),
        ("राम:nan", "the boost of the hotword 'राम' is no finite number: give one"),
        ("राम:1e999", "the boost of the hotword 'राम' is no finite number: give one"),
    ],
)
def test_what_is_no_hotword(text: str, message: str) -> None:
    with pytest.raises(ParameterError, match=f"^{re.escape(message)}$"):
        parse_hotword(text)


def test_a_file_has_one_on_each_line(tmp_path: Path) -> None:
    path = tmp_path / "names.txt"
    path.write_bytes("\ufeffराम मनोहर\r\n\n  काशी:8\n".encode())
    assert read_hotwords(path) == ["राम मनोहर", ("काशी", 8.0)]
    path.write_bytes(b"")
    assert read_hotwords(path) == []


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("राम\n\nसीता:\n".encode(), "{}, line 3: the hotword 'सीता:' has no number after its colon"),
        (b"ram\n\xff\n", "{} is not UTF-8 at byte 4: convert it"),
    ],
)
def test_a_file_that_has_other_things(tmp_path: Path, content: bytes, message: str) -> None:
    path = tmp_path / "names.txt"
    path.write_bytes(content)
    with pytest.raises(ParameterError, match=f"^{re.escape(message.format(path))}"):
        read_hotwords(path)


def test_a_file_that_cannot_be_read(tmp_path: Path) -> None:
    with pytest.raises(ParameterError, match=r"^cannot read .*missing\.txt: No such file or directory$"):
        read_hotwords(tmp_path / "missing.txt")
    with pytest.raises(ParameterError, match=r"Is a directory$"):
        read_hotwords(tmp_path)
