"""How Hindi text is normalised before transcripts are compared.

Two spellings of the same word must not count as an error, and everything that is not speech must not count at all:

1. **Nukta and other compositions** (Unicode NFC). क़ is either one character (U+0958) or क with a nukta (U+0915 U+093C).
   U+0958 to U+095F are composition exclusions: NFC *de*composes them into letter and nukta. ऩ ऱ ऴ (U+0929, U+0931,
   U+0934) are no exclusions: NFC composes them. Either way one spelling remains. It also orders nukta before virama.
2. **Joiners** (ZWJ U+200D, ZWNJ U+200C) and all other format characters (byte order mark, direction marks, soft
   hyphen) choose how a word is drawn, not what is said: they are removed. A zero-width space (U+200B) parts words.
3. **Punctuation and symbols** become spaces: danda (।) and double danda (॥), the abbreviation sign (॰), hyphens,
   quotation marks, currency and per cent signs. Only an apostrophe inside a word is removed without a trace.
4. **Latin letters** are made lower-case: scripts of Hindi have no case.
5. **White space** of any kind and length becomes one space; none is left at the ends.

What stays, because it is heard or is spelling: chandrabindu against anusvara (चाँद, चांद), nukta against none
(ज़रा, जरा), long against short vowels, visarga, avagraha. Digits stay as they are written: references should say numbers
as they are spoken.
"""

import unicodedata

_APOSTROPHES = frozenset("'\N{RIGHT SINGLE QUOTATION MARK}")


def normalize(text: str) -> str:
    """The text as it is compared; normalising twice changes nothing more."""
    text = unicodedata.normalize("NFC", text).lower()
    text = "".join(map(_replace, text, " " + text, text[1:] + " "))
    # what was removed may have kept a letter and its nukta apart
    return " ".join(unicodedata.normalize("NFC", text).split())


def _replace(character: str, before: str, after: str) -> str:
    category = unicodedata.category(character)
    if category == "Cf":
        return " " if character == "\N{ZERO WIDTH SPACE}" else ""
    if category[0] not in "PSZ" and category != "Cc":
        return character
    return "" if character in _APOSTROPHES and _is_of_a_word(before) and _is_of_a_word(after) else " "


def _is_of_a_word(character: str) -> bool:
    """Letters, the signs on them, and digits."""
    return unicodedata.category(character)[0] in "LMN"
