"""What a chapter shows: paragraphs, tables and pictures."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Paragraph:
    """Plain text."""

    text: str


@dataclass(frozen=True)
class Table:
    """A table of text.

    Attributes:
        head: names of the columns.
        rows: as many cells each.
        caption: what it shows, in a line.
    """

    head: Sequence[str]
    rows: Sequence[Sequence[str]]
    caption: str = ""


@dataclass(frozen=True)
class Picture:
    """A picture.

    Attributes:
        name: of its file, without suffix.
        caption: what it shows, for whoever sees it and whoever does not.
        figure: matplotlib's.
    """

    name: str
    caption: str
    figure: Any


Block = Paragraph | Table | Picture


def number(value: float | None, digits: int = 3) -> str:
    """A number with its significant digits, and thousands parted; a dash for None."""
    if value is None:
        return "-"
    if value and abs(value) < 1e-3:  # noqa: PLR2004 - shorter that way
        return f"{value:.{digits - 1}e}"
    if abs(value) >= 10 ** (digits - 1):
        return f"{value:,.0f}"
    return f"{value:.{digits}g}"


def percent(share: float | None) -> str:
    """A share as per cent, to a tenth."""
    return "-" if share is None else f"{100 * share:.1f} %"
