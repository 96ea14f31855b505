"""Runs the sections and writes the report."""

import json
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import click

from shrota_client.pages.blocks import Block, Paragraph
from shrota_client.pages.host import host_line
from shrota_client.pages.load import QUIET, Load
from shrota_client.pages.page import Chapter
from shrota_client.pages.write import JSON, write_pages
from shrota_export.engines import shared_arena
from shrota_export.errors import ReportError
from shrota_export.report.apart import release
from shrota_export.report.material import Material
from shrota_export.report.reasons import reason_of
from shrota_export.report.sections import SECTIONS, in_order_shown, with_needs

FORMAT = 1
"""Of the JSON; a change that older readers cannot read raises it."""
PICTURES = frozenset({*SECTIONS, "activations"})
"""Names that a section's pictures may have."""
TIMED = frozenset({"graph", "profile", "backends", "scaling"})
"""Sections that measure times."""


def measure_sections(material: Material, names: Sequence[str]) -> dict[str, Any]:
    """Each section's data and seconds, or the line that says why it failed; the others go on."""
    done: dict[str, Any] = {}
    wanted = with_needs(names)
    for number, name in enumerate(wanted, start=1):
        section = SECTIONS[name]
        click.echo(f"{number} of {len(wanted)}: {section.title.lower()}", err=True)
        started, before = time.monotonic(), Load.now()
        missing = [need for need in section.needs if "data" not in done[need]]
        try:
            if missing:
                raise ReportError(f"it needs the section {missing[0]}, which failed")  # noqa: TRY301 - told below
            with shared_arena():
                data = section.measure(material, _data(done))
            json.dumps(data, allow_nan=False)
        except Exception as error:  # noqa: BLE001 - whatever a section raises, the others go on
            reason = reason_of(error)
            done[name] = {"failed": reason}
            click.echo(f"  failed: {reason}", err=True)
            continue
        seconds = time.monotonic() - started
        release()
        others = before.others(Load.now(), seconds)
        done[name] = {"seconds": seconds, "others": others, "data": data}
        if others > QUIET and name in TIMED:
            click.echo(f"  not quiet: other programs took {others:.0%} of the processors", err=True)
    return done


def _data(done: Mapping[str, Any]) -> dict[str, Any]:
    return {name: each["data"] for name, each in done.items() if "data" in each}


def chapters_of(sections: Mapping[str, Any]) -> list[Chapter]:
    """What is shown of measured sections."""
    found = _data(sections)
    chapters = []
    for name in in_order_shown(name for name in sections if name in SECTIONS):
        section = SECTIONS[name]
        blocks: Sequence[Block]
        if "failed" in sections[name]:
            blocks = [Paragraph(f"This section could not be made: {sections[name]['failed']}.")]
        else:
            try:
                blocks = section.show(found[name], found)
            except Exception as error:  # noqa: BLE001 - one section that cannot be shown leaves the others
                blocks = [Paragraph(f"This section could not be shown: {reason_of(error)}.")]
        busy = {
            each: sections[each].get("others", 0.0) for each in (name, *section.needs) if each in TIMED & found.keys()
        }
        if busy and max(busy.values()) > QUIET:
            blocks = [Paragraph(_warning(max(busy.values()))), *blocks]
        chapters.append(Chapter(name, section.title, blocks))
    return chapters


def _warning(others: float) -> str:
    return (
        f"Mind: the machine was not quiet. Other programs took up to {others:.0%} of its processors while this was "
        "measured, so times are longer and scatter more than they would alone, and threads gain less. Measure again "
        "when nothing else runs before you trust them."
    )


def write_report(content: Mapping[str, Any], output: Path) -> list[Path]:
    """Writes JSON, PNGs, Markdown and HTML into a folder.

    Returns:
        What was written.

    Raises:
        OutputError: the folder cannot be written.
    """
    chapters = chapters_of(content["sections"])
    return write_pages(content["title"], about_lines(content), chapters, output, content, pictures=PICTURES)


def about_lines(content: Mapping[str, Any]) -> list[str]:
    """Machine, date, versions and command."""
    checkpoint = content["checkpoint"]
    lines = [
        f"{content['command']}; checkpoint {checkpoint['name']} (SHA-256 {checkpoint['sha256'][:12]}).",
        f"{host_line(content['host'])}.",
        "Times are medians of rounds in which the variants took turns, after warm-up, with their quartiles.",
    ]
    if content["is_random"]:
        lines.append(
            "The weights are random: times, operations and memory are those of the architecture, but what it "
            "transcribes means nothing, so there are no error rates."
        )
    return lines


def read_report(path: Path) -> dict[str, Any]:
    """A report's JSON.

    Raises:
        ReportError: it is missing or no report of this format.
    """
    file = path / JSON if path.is_dir() else path
    try:
        content = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, RecursionError, ValueError) as error:
        reason = getattr(error, "strerror", None) or "it is no JSON"
        raise ReportError(f"{path} cannot be read ({reason}): give the report.json of a report") from error
    wanted = {"format", "title", "checkpoint", "host", "command", "sections"}
    if not isinstance(content, dict) or not wanted <= content.keys() or content["format"] != FORMAT:
        raise ReportError(f"{path} is no report of `shrota report`, or one of another version: make it again")
    return content
