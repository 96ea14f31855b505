"""The rule for combining marks, written without the decoder's code."""

import re
import unicodedata

from shrota_testing.repository import TOKENS

MARKS = "".join(token for token in TOKENS if len(token) == 1 and unicodedata.category(token) in {"Mn", "Mc"})


def with_marks_attached(text: str) -> str:
    """The text without the spaces that stand before a mark and behind anything else; one space between words."""
    return re.sub(f"(?<=.) (?=[{MARKS}])", "", " ".join(text.split()))
