"""The committed pages of ``docs/benchmarks/`` are of the checkpoint that the repository brings."""

import json
import re
from pathlib import Path
from typing import Any

import pytest

from scripts.repository import ROOT
from shrota_export.checkpoint import find_checkpoint

PAGES = {
    "cpu": "make bench",
    "cpu-engines": "python -m benchmarks.cpu_engines --output docs/benchmarks/cpu-engines",
    "decoder-quality": "make quality",
    "gpu-h200": "python -m benchmarks.gpu --output docs/benchmarks/gpu-h200, on a GPU",
    "gpu-h200-speech": "python -m benchmarks.gpu --only bundled --manifest SPEECH --output ..., on a GPU",
    "gpu-serving-h100": "make bench-gpu, on two H100",
    "gpu-serving-h100-before": "make bench-gpu, on an H100, with the engine as it was before; ONNX Runtime beside it",
    "gpu-serving-h100-trials": "make bench-gpu, on an H100, with other configurations, and all layers in 8 bits",
    "precision": "python -m benchmarks.precision MANIFEST... --profile --output docs/benchmarks/precision",
    "precision-large": "python -m benchmarks.precision_large --output docs/benchmarks/precision-large",
}
"""The command that writes each page."""
BENCHMARKS = ROOT / "docs" / "benchmarks"
TEXTS = sorted(path for path in BENCHMARKS.rglob("*") if path.suffix in {".md", ".json", ".html"})


def stale(page: Path, command: str, sha256: str) -> str | None:
    """What is wrong with a page, in one line; None with one of this checkpoint, or one that records none."""
    beside = page.with_suffix(".json")
    found = beside if beside.exists() else page.with_suffix("") / "report.json"
    content: dict[str, Any] = json.loads(found.read_text(encoding="utf-8"))
    if "checkpoint" not in content:
        return None
    measured = content["checkpoint"]["sha256"]
    if measured[:12] not in page.read_text(encoding="utf-8"):
        return f"{page.name} does not name the checkpoint of its JSON, {measured[:12]}: run `{command}`"
    if measured != sha256:
        return f"{page.name} is of the checkpoint {measured[:12]}, models/hindi-small is {sha256[:12]}: run `{command}`"
    return None


@pytest.mark.parametrize("name", sorted(path.stem for path in BENCHMARKS.glob("*.md")))
def test_a_committed_page_is_of_the_bundled_checkpoint(name: str) -> None:
    sha256 = find_checkpoint(str(ROOT / "models" / "hindi-small")).sha256
    assert name in PAGES, f"say in PAGES which command writes docs/benchmarks/{name}.md"
    problem = stale(ROOT / "docs" / "benchmarks" / f"{name}.md", PAGES[name], sha256)
    if problem is not None:
        pytest.fail(problem, pytrace=False)


@pytest.mark.parametrize("path", TEXTS, ids=lambda path: str(path.relative_to(BENCHMARKS)))
def test_a_committed_page_names_no_folder_of_the_machine(path: Path) -> None:
    found = re.findall(
        r"(?<![\w.~>/)-])/(?:home|root|tmp|work|mnt|opt|srv|var|Users)/[^\s\"`]*", path.read_text(encoding="utf-8")
    )
    assert found == []


@pytest.mark.parametrize(
    ("content", "text", "problem"),
    [
        ({}, "", None),
        ({"checkpoint": {"sha256": "a" * 64}}, "SHA-256 aaaaaaaaaaaa", None),
        (
            {"checkpoint": {"sha256": "b" * 64}},
            "SHA-256 bbbbbbbbbbbb",
            "page.md is of the checkpoint bbbbbbbbbbbb, models/hindi-small is aaaaaaaaaaaa: run `make it`",
        ),
        (
            {"checkpoint": {"sha256": "a" * 64}},
            "SHA-256 bbbbbbbbbbbb",
            "page.md does not name the checkpoint of its JSON, aaaaaaaaaaaa: run `make it`",
        ),
    ],
)
def test_a_page_of_another_checkpoint_is_one_line_with_the_remedy(
    tmp_path: Path, content: dict[str, Any], text: str, problem: str | None
) -> None:
    page = tmp_path / "page.md"
    page.write_text(text, encoding="utf-8")
    page.with_suffix(".json").write_text(json.dumps(content), encoding="utf-8")
    assert stale(page, "make it", "a" * 64) == problem
