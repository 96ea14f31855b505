"""Two reports side by side."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from shrota_client.pages.blocks import Paragraph, Table, number
from shrota_client.pages.page import Chapter
from shrota_client.pages.write import write_pages
from shrota_export.errors import ReportError
from shrota_export.report.build import PICTURES, about_lines
from shrota_export.report.reasons import reason_of
from shrota_export.report.sections import SECTIONS, in_order_shown


def compare(first: Mapping[str, Any], second: Mapping[str, Any]) -> list[Chapter]:
    """The main numbers of all sections that both have, with the second over the first."""
    chapters = [
        Chapter(
            "what",
            "What is compared",
            [Paragraph(f"A: {' '.join(about_lines(first)[:2])}"), Paragraph(f"B: {' '.join(about_lines(second)[:2])}")],
        )
    ]
    lengths = [each.get("audio_seconds") for each in (first, second)]
    if lengths[0] != lengths[1]:
        text = f"Mind: A was timed on {lengths[0]} s of audio and B on {lengths[1]} s, so latencies cannot be compared."
        chapters.append(Chapter("mind", "Unlike audio", [Paragraph(text)]))
    for name in in_order_shown(SECTIONS):
        sides = [each["sections"].get(name, {}) for each in (first, second)]
        if not any(sides):
            continue
        blocks: list[Paragraph | Table] = [
            Paragraph(f"{letter} has no such section{': ' + side['failed'] if 'failed' in side else ''}.")
            for letter, side in zip("AB", sides, strict=True)
            if "data" not in side
        ]
        if not blocks:
            figures = [{what: (value, unit) for what, value, unit in SECTIONS[name].figures(s["data"])} for s in sides]
            blocks.append(Table(["", "A", "B", "unit", "B / A"], _rows(*figures)))
        chapters.append(Chapter(name, SECTIONS[name].title, blocks))
    return chapters


Figures = Mapping[str, tuple[float | None, str]]


def _rows(first: Figures, second: Figures) -> list[list[str]]:
    rows = []
    for what in dict.fromkeys([*first, *second]):
        (old, unit), (new, other_unit) = first.get(what, (None, "")), second.get(what, (None, ""))
        ratio = new / old if old and new is not None else None
        rows.append([what, number(old), number(new), unit or other_unit, number(ratio)])
    return rows


def write_comparison(first: Mapping[str, Any], second: Mapping[str, Any], output: Path) -> list[Path]:
    """Writes the two pages, and a JSON that holds both reports.

    Raises:
        OutputError: the folder cannot be written.
        ReportError: one of them lacks numbers.
    """
    try:
        title = f"{first['checkpoint']['name']} (A) and {second['checkpoint']['name']} (B)"
        chapters = compare(first, second)
    except (ArithmeticError, AttributeError, LookupError, TypeError, ValueError) as error:
        raise ReportError(
            f"one of the two reports is not whole ({reason_of(error)} is wrong or missing): make it again"
        ) from error
    return write_pages(title, [], chapters, output, {"A": first, "B": second}, pictures=PICTURES)
