"""A report as one HTML page that needs no network, and as Markdown."""

import base64
import html
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from shrota_client.pages.blocks import Block, Paragraph, Table


@dataclass(frozen=True)
class Chapter:
    """One section as it is shown."""

    name: str
    title: str
    blocks: Sequence[Block]


STYLE = """
:root { color-scheme: light dark; --ground: #ffffff; --text: #1c1c1c; --faint: #5f6368; --line: #d9d9d9;
  --stripe: #f5f5f2; --link: #1f5a99; --bad: #a33b3b; }
@media (prefers-color-scheme: dark) { :root { --ground: #16181b; --text: #e6e6e6; --faint: #a3a8ae; --line: #3a3e44;
  --stripe: #1e2125; --link: #8ab8e8; --bad: #ff9a9a; } }
body { background: var(--ground); color: var(--text); font: 16px/1.5 system-ui, "Noto Sans Devanagari", sans-serif;
  max-width: 62rem; margin: 0 auto; padding: 1.5rem 1rem 4rem; }
h1, h2 { line-height: 1.2; } h2 { margin-top: 3rem; border-bottom: 1px solid var(--line); padding-bottom: .3rem; }
a { color: var(--link); } nav a { margin-right: 1rem; white-space: nowrap; }
.about, figcaption, caption { color: var(--faint); font-size: .875rem; }
.wide { overflow-x: auto; } caption { text-align: left; padding-bottom: .3rem; }
table { border-collapse: collapse; font-size: .875rem; margin: 1rem 0; font-variant-numeric: tabular-nums; }
th, td { border-bottom: 1px solid var(--line); padding: .3rem .7rem; text-align: left; vertical-align: top; }
th { background: var(--stripe); } tbody tr:nth-child(even) { background: var(--stripe); }
figure { margin: 1.2rem 0; } img { max-width: 100%; height: auto; border-radius: 6px; }
code { font-size: .9em; }
"""


def html_page(title: str, about: Sequence[str], chapters: Sequence[Chapter], pictures: Mapping[str, bytes]) -> str:
    """The page.

    Args:
        title: its name.
        about: lines on machine, date and command.
        chapters: the sections.
        pictures: PNGs by the names of the pictures.
    """
    lines = [
        "<!doctype html>",
        '<html lang="en"><head><meta charset="utf-8">',
        '<meta name="viewport" content="width=device-width, initial-scale=1">',
        f"<title>{html.escape(title)}</title><style>{STYLE}</style></head><body>",
        f"<h1>{html.escape(title)}</h1>",
        *(f'<p class="about">{html.escape(line)}</p>' for line in about),
        "<nav>" + " ".join(f'<a href="#{each.name}">{html.escape(each.title)}</a>' for each in chapters) + "</nav>",
    ]
    for chapter in chapters:
        lines.append(f'<section id="{chapter.name}"><h2>{html.escape(chapter.title)}</h2>')
        for block in chapter.blocks:
            lines += _html_block(block, pictures)
        lines.append("</section>")
    return "\n".join([*lines, "</body></html>", ""])


def _html_block(block: Block, pictures: Mapping[str, bytes]) -> Iterator[str]:
    if isinstance(block, Paragraph):
        yield f"<p>{html.escape(block.text)}</p>"
    elif isinstance(block, Table):
        caption = f"<caption>{html.escape(block.caption)}</caption>" if block.caption else ""
        yield f'<div class="wide"><table>{caption}<thead>{_html_row(block.head, "th")}</thead><tbody>'
        yield from (_html_row(row, "td") for row in block.rows)
        yield "</tbody></table></div>"
    else:
        data = base64.b64encode(pictures[block.name]).decode()
        text = html.escape(block.caption)
        yield f'<figure><img alt="{text}" src="data:image/png;base64,{data}"><figcaption>{text}</figcaption></figure>'


def _html_row(cells: Sequence[str], tag: str) -> str:
    return "<tr>" + "".join(f"<{tag}>{html.escape(cell)}</{tag}>" for cell in cells) + "</tr>"


def markdown_page(title: str, about: Sequence[str], chapters: Sequence[Chapter]) -> str:
    """The same as Markdown; the pictures are files beside it."""
    lines = [f"# {title}", ""]
    for line in about:
        lines += [line, ""]
    for chapter in chapters:
        lines += [f"## {chapter.title}", ""]
        for block in chapter.blocks:
            lines += [*_markdown_block(block), ""]
    return "\n".join(lines)


def _markdown_block(block: Block) -> Iterator[str]:
    if isinstance(block, Paragraph):
        yield block.text
    elif isinstance(block, Table):
        if block.caption:
            yield f"{block.caption}:"
            yield ""
        yield _markdown_row(block.head)
        yield "|" + "---|" * len(block.head)
        yield from (_markdown_row(row) for row in block.rows)
    else:
        yield f"![{block.caption}]({block.name}.png)"


def _markdown_row(cells: Sequence[str]) -> str:
    return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"
