"""What docs/operations.md and SECURITY.md quote is what the code says, and what they link to is there."""

import re
from functools import cache
from pathlib import Path

import pytest
import yaml

from shrota_testing.repository import ROOT

HANDBOOK = ROOT / "docs" / "operations.md"
PAGES = [HANDBOOK, ROOT / "SECURITY.md", *sorted((ROOT / "docker").glob("README*"))]
SOURCES = ["client/src", "server/src", "export/src", "model_repository", "docker"]
# said by Triton itself; tests of the closed doors and of the server's image expect it so, shared memory's apart
BY_TRITON = [
    "This API is restricted, expecting header 'shrota-admin-key'",
    "failed to load '…' version …",
    "Stub process … is not healthy",
    "Failed to increase the shared memory pool size …",
]
# said by Docker and Kubernetes, which have not been run
BY_OTHERS = ["port is already allocated", "didn't complete successfully", "CrashLoopBackOff", "Init:CrashLoopBackOff"]
NO_QUOTES = re.compile(
    r"shrota:|SHROTA_\w+|[a-z]+(\.[A-Za-z_]+)?|[A-Z]+|acoustic_trt|serve\.py|docker/\.env|docker compose \w+"
    r"|kubectl [\w -]+|(model|acoustic)\.\w+|sharedMemory|adminKeySecret|-c prepare"
)
"""Names, settings, places and commands."""


@cache
def source() -> str:
    """All strings of our code, as far as they can be read across the lines of a literal."""
    files = [path for part in SOURCES for path in (ROOT / part).rglob("*.py")]
    files.append(ROOT / "docker" / "nginx" / "shrota.conf")
    text = "\n".join(path.read_text(encoding="utf-8") for path in files)
    # a literal that goes on in the next line
    return re.sub(r'"\s*\n\s*f?"', "", text)


def failures() -> list[tuple[str, str]]:
    """Title and symptoms of each of the ten."""
    section = HANDBOOK.read_text(encoding="utf-8").split("\n## Ten failures\n")[1].split("\n## ")[0]
    return re.findall(r"\n### (\d+\. [^\n]+)\n\n([^\n]+)\n", section)


def test_there_are_ten() -> None:
    assert [title.split(".")[0] for title, _ in failures()] == [str(number) for number in range(1, 11)]


@pytest.mark.parametrize(("title", "symptom"), failures())
def test_each_symptom_is_what_the_code_says(title: str, symptom: str) -> None:
    quotes = re.findall(r"`([^`]+)`", symptom)
    assert quotes
    for quote in quotes:
        if quote in BY_TRITON:
            continue
        pieces = [piece.strip() for piece in quote.split("…") if len(piece.strip()) > 2]
        assert pieces, quote
        for piece in pieces:
            assert piece in source(), piece


def in_a_container() -> dict[str, str]:
    """What each of the ten looks like in the images."""
    section = HANDBOOK.read_text(encoding="utf-8").split("\n## Ten failures\n")[1].split("\n## ")[0]
    parts = re.split(r"\n### (?=\d+\. )", section)[1:]
    return {part.split("\n")[0]: " ".join(part.partition("\n**In a container** ")[2].split()) for part in parts}


@pytest.mark.parametrize("title", [title for title, _ in failures()])
def test_each_says_what_it_looks_like_in_a_container(title: str) -> None:
    text = in_a_container()[title]
    assert text, "there is no supervisor there, and serve.py has other words"
    for quote in re.findall(r"`([^`]+)`", text):
        if quote in BY_TRITON + BY_OTHERS or NO_QUOTES.fullmatch(quote):
            continue
        for piece in (piece.strip() for piece in quote.split("…") if len(piece.strip()) > 2):
            assert piece in source(), piece


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_link_leads_to_a_file_and_a_heading(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    links = [link for link in re.findall(r"\]\(([^)\s]+)\)", text) if not link.startswith("http")]
    assert links
    for link in links:
        name, _, anchor = link.partition("#")
        target = (page.parent / name).resolve() if name else page
        relative = target.relative_to(ROOT).as_posix()
        assert target.exists(), link
        if (anchor and relative != "docs/operations.md" and target.suffix == ".md") or (anchor and target == HANDBOOK):
            assert anchor in anchors(target.read_text(encoding="utf-8")), link


def anchors(text: str) -> set[str]:
    """The headings' names in a link, as GitHub makes them."""
    headings = re.findall(r"(?m)^#+ (.+)$", text)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def test_the_table_of_limits_is_what_the_files_say() -> None:
    section = (ROOT / "SECURITY.md").read_text(encoding="utf-8").split("\n## Limits\n")[1].split("\n## ")[0]
    rows = dict(re.findall(r"(?m)^\| [^|]+ \| ([^|]+) \| ([^|]+) \|$", section)[1:])
    found = {}
    for where, shipped in rows.items():
        names = re.findall(r"`([a-z_]+)`", where)
        text = "\n".join(path.read_text(encoding="utf-8") for path in limit_files(where, names))
        for setting in [name for name in names if name not in {"acoustic", "ctc_decoder", "timeout"}]:
            found[setting] = values(text, setting)
            assert found[setting], setting
            number = int(shipped.split()[0])
            scale = 10**6 if setting.endswith("microseconds") else 1
            assert found[setting] == {number * scale}, setting
    assert len(found) == 12


def test_compose_and_chart_have_the_limits_that_the_table_says() -> None:
    text = (ROOT / "SECURITY.md").read_text(encoding="utf-8")
    said = dict(re.findall(r"`(max_audio_seconds|max_queue_size)` \| [^|]*; Compose and chart (\d+)", text))
    assert len(said) == 2
    wanted = {f"acoustic.{name}={value}" for name, value in said.items()}
    (compose,) = re.findall(r'SHROTA_SETTINGS="(.*)"', (ROOT / "docker/.env").read_text(encoding="utf-8"))
    assert set(compose.split()) == wanted
    for file in ("values.yaml", "values-gpu.yaml"):
        values = yaml.safe_load((ROOT / "docker/helm/shrota" / file).read_text(encoding="utf-8"))
        assert set(values["model"]["settings"].split()) == wanted


def limit_files(where: str, names: list[str]) -> list[Path]:
    """The files that a row of the table speaks of; "the same" are those of the row before."""
    if where.startswith("nginx"):
        return [ROOT / "docker" / "nginx" / "shrota.conf"]
    models = [name for name in names if name in {"acoustic", "ctc_decoder"}] or ["acoustic", "ctc_decoder"]
    return [ROOT / "model_repository" / model / "config.pbtxt" for model in models]


def values(text: str, setting: str) -> set[int]:
    """Numbers that a setting has in nginx's or Triton's files."""
    patterns = [
        rf'key: "{setting}" value \{{ string_value: "(\d+)"',
        rf"(?m)^\s*{setting}: (\d+)$",
        rf"(?m)^\s*(?:limit_conn )?{setting} (\d+)[ms]?;",
    ]
    return {int(number) for pattern in patterns for number in re.findall(pattern, text)}
