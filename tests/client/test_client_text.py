"""The normalisation that precedes every comparison of Hindi texts."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shrota_client.text import normalize


@pytest.mark.parametrize(
    "letter", [chr(code) for code in range(0x958, 0x960)], ids=lambda letter: f"U+{ord(letter):04X}"
)
def test_composed_nukta_letters_are_decomposed(letter: str) -> None:
    base = {"क़": "क", "ख़": "ख", "ग़": "ग", "ज़": "ज", "ड़": "ड", "ढ़": "ढ", "फ़": "फ", "य़": "य"}
    expected = dict(zip(map(chr, range(0x958, 0x960)), base.values(), strict=True))[letter] + "\u093c"
    assert normalize(letter) == expected
    assert normalize(expected) == expected


@pytest.mark.parametrize(("base", "composed"), [("न", "\u0929"), ("र", "\u0931"), ("ळ", "\u0934")])
def test_the_other_nukta_letters_are_composed(base: str, composed: str) -> None:
    assert normalize(base + "\u093c") == composed == normalize(composed)


def test_nukta_stands_before_virama() -> None:
    assert normalize("ज\u094d\u093c") == normalize("ज\u093c\u094d") == "ज\u093c\u094d"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("क्\u200dष", "क्ष"),  # zero-width joiner
        ("क्\u200cष", "क्ष"),  # zero-width non-joiner
        ("\ufeffराम\u200e", "राम"),  # byte order mark, direction mark
        ("ज\u200d\u093cरा", "ज\u093cरा"),  # a joiner between a letter and its nukta
        ("राम\u200bश्याम", "राम श्याम"),  # zero-width space
        ("वह गया।", "वह गया"),
        ("वह गया॥", "वह गया"),
        ("क्या?! “हाँ”, (नहीं)…", "क्या हाँ नहीं"),
        ("जन-गण—मन", "जन गण मन"),
        ("डॉ॰ राम", "डॉ राम"),
        ("₹50 + 5%", "50 5"),
        ("राम's don\N{RIGHT SINGLE QUOTATION MARK}t 'वह'", "रामs dont वह"),
        ("Hello WORLD", "hello world"),
        (" एक\t दो\n\xa0तीन ", "एक दो तीन"),
        ("", ""),
        ("।", ""),
    ],
)
def test_what_is_not_heard_goes(text: str, expected: str) -> None:
    assert normalize(text) == expected


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("चाँद", "चांद"),  # chandrabindu, anusvara
        ("ज़रा", "जरा"),  # with nukta, without
        ("दिन", "दीन"),  # short, long
        ("दुःख", "दुख"),  # visarga
        ("१०", "10"),  # digits as they are written
    ],
)
def test_spelling_and_sound_stay_apart(one: str, other: str) -> None:
    assert normalize(one) != normalize(other)


@given(
    st.text(st.characters(codec="utf-8"))
    | st.text("कनरज\u093c\u094d\u0958\u0929ािँं।-'\N{RIGHT SINGLE QUOTATION MARK}\u200c\u200d\u200b Aİ")
)
def test_normalising_twice_changes_nothing_more(text: str) -> None:
    once = normalize(text)
    assert normalize(once) == once
    assert once == once.strip()
    assert "  " not in once
