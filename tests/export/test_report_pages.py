"""The report from the command line: its files, what fails, what is compared."""

import json
import os
import re
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from shrota_client.errors import ShrotaError
from shrota_export import random_checkpoint
from shrota_export.report.blocks import Paragraph, Table, number
from shrota_export.report.build import chapters_of, read_report, write_report
from shrota_export.report.compare import compare
from shrota_export.report.host import describe_host
from shrota_export.report.load import Load
from shrota_export.report.page import Chapter, html_page, markdown_page
from shrota_export.report.sections import SECTIONS, in_order_shown, with_needs
from shrota_export.report_cli import NAMES, report


def run(*arguments: object) -> Any:
    return CliRunner().invoke(report, [str(argument) for argument in arguments])


@pytest.fixture(scope="module")
def made(tiny_checkpoint: Path, speech: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Sections that take no long rounds, of a tiny checkpoint."""
    folder = tmp_path_factory.mktemp("report") / "new" / "folder"
    sections = [f"--only={name}" for name in ("architecture", "profile", "weights", "next")]
    result = run(tiny_checkpoint, "--manifest", speech, "--seconds", 1, "--output", folder, *sections)
    assert result.exit_code == 0, result.output
    return folder


def test_the_page_needs_nothing_beside_it(made: Path) -> None:
    page = (made / "index.html").read_text(encoding="utf-8")
    sources = re.findall(r'(?:src|href)="([^"]*)"', page)
    assert all(source.startswith(("data:image/png;base64,", "#")) for source in sources)
    assert "http" not in re.sub(r"base64,[^\"]*", "", page)
    assert "prefers-color-scheme: dark" in page


def test_pages_pictures_and_numbers_have_the_same_sections(made: Path) -> None:
    content = json.loads((made / "report.json").read_text(encoding="utf-8"))
    assert list(content["sections"]) == ["architecture", "profile", "weights", "next"]
    assert all("data" in section for section in content["sections"].values()), content["sections"]
    text = (made / "report.md").read_text(encoding="utf-8")
    assert [line[3:] for line in text.splitlines() if line.startswith("## ")] == [
        SECTIONS[name].title for name in content["sections"]
    ]
    pictures = re.findall(r"\]\((.*\.png)\)", text)
    assert sorted(pictures) == sorted(path.name for path in made.glob("*.png"))
    assert content["host"]["cores"] >= 1
    assert content["command"].startswith("shrota report ")


def test_the_architecture_section_agrees_with_the_counter(made: Path) -> None:
    data = json.loads((made / "report.json").read_text(encoding="utf-8"))["sections"]["architecture"]["data"]
    assert data["counted_flops"] == sum(data["flops"].values())
    assert data["weight_bytes"]["fp32"] == 4 * sum(data["parameters"].values())
    assert data["activation_peak_bytes"] > 0


def test_the_profile_finds_all_layers(made: Path) -> None:
    data = json.loads((made / "report.json").read_text(encoding="utf-8"))["sections"]["profile"]["data"]
    wanted = {*(f"feature_extractor.{index}" for index in range(7)), "layers.0", "layers.1", "head"}
    for key in ("pytorch", "onnxruntime"):
        assert wanted <= set(data[key]["layers"])
        parts = sum(sum(groups.values()) for groups in data[key]["layers"].values())
        assert parts == pytest.approx(data[key]["all_s"], rel=0.05)
        gelu = data[key]["layers"]["layers.0"]["GELU"]
        assert gelu > 0


def test_a_section_that_fails_is_said_in_its_place_and_the_others_go_on(
    tiny_checkpoint: Path, speech: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_arguments: object) -> dict[str, Any]:
        raise RuntimeError("no\nroom")

    from dataclasses import replace

    monkeypatch.setitem(SECTIONS, "profile", replace(SECTIONS["profile"], measure=fail))
    options = ("--manifest", speech, "--seconds", 1, "--output", tmp_path)
    result = run(tiny_checkpoint, *options, "--only", "next", "--only", "architecture")
    assert result.exit_code == 1
    assert "these sections failed, and say why in their places: profile, next" in result.output
    text = (tmp_path / "report.md").read_text(encoding="utf-8")
    assert "This section could not be made: no room." in text
    assert "it needs the section profile, which failed" in text
    assert "GFLOP" in text
    assert "Traceback" not in result.output


def test_a_published_architecture_has_random_weights_and_says_so(
    speech: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    narrow = random_checkpoint.Shape(layers=2, hidden_size=64, conv_dim=32)
    monkeypatch.setattr(random_checkpoint, "Shape", lambda: narrow)
    options = ("--manifest", speech, "--seconds", 1, "--output", tmp_path, "--only", "architecture")
    result = run("--like", "indicwav2vec-hindi", *options)
    assert result.exit_code == 0, result.output
    text = (tmp_path / "report.md").read_text(encoding="utf-8")
    assert "# Analysis and optimisation report: indicwav2vec-hindi, random weights" in text
    assert "so there are no error rates" in text
    assert str(tmp_path) not in text


def test_sections_bring_what_they_need_and_the_summary_comes_first() -> None:
    assert tuple(SECTIONS) == NAMES
    assert with_needs(["summary"]) == ["backends", "scaling", "summary"]
    assert with_needs(["next", "graph"]) == ["graph", "profile", "next"]
    assert in_order_shown(["graph", "summary", "architecture"]) == ["summary", "architecture", "graph"]


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["/nowhere/at/all"], "there is no such folder"),
        (["--compare", "a.json", "b.json"], "give the report.json of a report"),
        (["checkpoint", "--manifest", "missing.jsonl"], "there is no speech at missing.jsonl"),
    ],
)
def test_bad_input_is_one_line(arguments: list[str], said: str, speech: Path) -> None:
    if "--manifest" not in arguments and "--compare" not in arguments:
        arguments = [*arguments, "--manifest", str(speech)]
    result = run(*arguments)
    assert isinstance(result.exception, ShrotaError)
    assert said in str(result.exception)
    assert "\n" not in str(result.exception)


@pytest.mark.parametrize("arguments", [[], ["x", "--like", "indicwav2vec-hindi"], ["x", "--compare", "a", "b"]])
def test_what_is_named_twice_or_not_at_all_is_refused(arguments: list[str]) -> None:
    assert run(*arguments).exit_code == 2


def test_a_file_that_is_no_report_is_refused(tmp_path: Path) -> None:
    (tmp_path / "other.json").write_text('{"format": 1}', encoding="utf-8")
    with pytest.raises(ShrotaError, match=r"is no report of `shrota report`"):
        read_report(tmp_path / "other.json")


def test_a_report_can_be_written_again_from_its_numbers(made: Path, tmp_path: Path) -> None:
    write_report(read_report(made), tmp_path)
    for name in ("report.md", "report.json", "index.html"):
        assert (tmp_path / name).read_bytes() == (made / name).read_bytes()


def test_two_reports_side_by_side(made: Path, tmp_path: Path) -> None:
    result = run("--compare", made / "report.json", made / "report.json", "--output", tmp_path)
    assert result.exit_code == 0, result.output
    text = (tmp_path / "report.md").read_text(encoding="utf-8")
    row = next(line for line in text.splitlines() if line.startswith("| parameters |"))
    _, _, first, second, _, ratio, _ = (cell.strip() for cell in row.split("|"))
    assert first == second
    assert ratio == "1"


def test_a_section_that_one_report_lacks_is_said(made: Path) -> None:
    whole = read_report(made)
    part = {**whole, "host": describe_host(), "sections": {"profile": {"failed": "no room"}}}
    chapters = {chapter.name: chapter for chapter in compare(whole, part)}
    assert list(chapters["architecture"].blocks) == [Paragraph("B has no such section.")]
    assert chapters["profile"].blocks == [Paragraph("B has no such section: no room.")]


def test_a_report_that_lacks_numbers_is_refused_in_one_line(made: Path, tmp_path: Path) -> None:
    content = {**read_report(made), "sections": {"architecture": {"data": {}}}}
    (tmp_path / "broken.json").write_text(json.dumps(content), encoding="utf-8")
    result = run("--compare", tmp_path / "broken.json", made / "report.json", "--output", tmp_path / "out")
    assert isinstance(result.exception, ShrotaError)
    assert "is no whole report" in str(result.exception)


def test_what_other_programs_take_is_counted_and_said(made: Path) -> None:
    """Of 2 processors in 10 s, 8 s were busy and 3 s of them ours: others took 5 of 20."""
    assert Load(100.0, 50.0).others(Load(108.0, 53.0), 10.0, 2) == pytest.approx(0.25)
    ticks = os.sysconf("SC_CLK_TCK")
    line = f"cpu  {ticks} {2 * ticks} {3 * ticks} {99 * ticks} {50 * ticks} {ticks} 0 0 {7 * ticks} 0\ncpu0 1 2 3"
    assert Load.now(lambda: line).all_s == 7.0  # neither idle, nor waiting, nor guests twice
    sections = read_report(made)["sections"]
    sections["profile"]["others"] = 0.3
    texts = {chapter.name: str(chapter.blocks) for chapter in chapters_of(sections)}
    assert "Other programs took up to 30%" in texts["profile"]
    assert "Other programs took up to 30%" in texts["next"]  # which needs it
    assert "Other programs" not in texts["architecture"]


def test_text_is_escaped() -> None:
    chapters = [Chapter("one", "A & B", [Paragraph("a < b"), Table(["x|y"], [["<b>"]])])]
    page = html_page("श्रोता", ["1 > 0"], chapters, {})
    assert "A &amp; B" in page
    assert "a &lt; b" in page
    assert "<b>" not in page
    assert "श्रोता" in page
    assert "| x\\|y |" in markdown_page("t", [], chapters)


@pytest.mark.parametrize(
    ("value", "text"),
    [(None, "-"), (0, "0"), (1234567, "1,234,567"), (0.123456, "0.123"), (99.94, "99.9"), (0.00012345, "1.23e-04")],
)
def test_numbers(value: float | None, text: str) -> None:
    assert number(value) == text
