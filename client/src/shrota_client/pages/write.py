"""The files of a page: HTML, Markdown, JSON, and a PNG for each picture."""

import io
import json
import re
import tempfile
from collections.abc import Mapping, Sequence
from collections.abc import Set as AbstractSet
from pathlib import Path
from typing import Any

from shrota_client.pages.blocks import Picture
from shrota_client.pages.drawing import DPI
from shrota_client.pages.page import Chapter, html_page, markdown_page
from shrota_client.writing import writing

JSON, HTML, MARKDOWN = "report.json", "index.html", "report.md"


def claim(output: Path) -> None:
    """Makes the folder and tries it, before minutes are spent on what goes there.

    Raises:
        OutputError: it cannot be written.
    """
    with writing(output):
        output.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=output):
            pass


def write_pages(
    title: str,
    about: Sequence[str],
    chapters: Sequence[Chapter],
    output: Path,
    content: Mapping[str, Any],
    *,
    pictures: AbstractSet[str],
) -> list[Path]:
    """Writes ``index.html``, ``report.md``, ``report.json`` and the pictures into a folder, which is made.

    Args:
        title: of the page.
        about: lines on machine, date and command.
        chapters: what it shows.
        output: the folder.
        content: for the JSON, in plain types.
        pictures: names that any page of this kind may have; what the page there shows under one of them and the new
            one does not is removed.

    Returns:
        What was written.

    Raises:
        OutputError: the folder cannot be written.
        ValueError: the content has a number that JSON has not.
    """
    text = json.dumps(dict(content), indent=2, ensure_ascii=False, allow_nan=False)
    images = {block.name: _png(block) for each in chapters for block in each.blocks if isinstance(block, Picture)}
    with writing(output):
        output.mkdir(parents=True, exist_ok=True)
        for name in _pictures_of(output / MARKDOWN) & pictures - images.keys():  # of an older page with more of them
            (output / f"{name}.png").unlink(missing_ok=True)
        for name, image in images.items():
            (output / f"{name}.png").write_bytes(image)
        (output / JSON).write_text(text + "\n", encoding="utf-8")
        (output / MARKDOWN).write_text(markdown_page(title, about, chapters), encoding="utf-8")
        (output / HTML).write_text(html_page(title, about, chapters, images), encoding="utf-8")
    return [output / HTML, output / MARKDOWN, output / JSON, *(output / f"{name}.png" for name in images)]


def _pictures_of(page: Path) -> set[str]:
    """Names of the pictures that a page shows; none where there is no page."""
    text = page.read_text(encoding="utf-8", errors="replace") if page.is_file() else ""
    return set(re.findall(r"\]\((\w+)\.png\)", text))


def _png(picture: Picture) -> bytes:
    target = io.BytesIO()
    picture.figure.savefig(target, dpi=DPI, format="png", metadata={"Software": None})
    return target.getvalue()
