"""The report from the command line: its files, what fails, what is compared."""

import json
import os
import re
import shutil
import tempfile
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
from click.testing import CliRunner

from shrota_client.errors import OutputError, ShrotaError
from shrota_client.pages.blocks import Paragraph, Table, number
from shrota_client.pages.host import describe_host
from shrota_client.pages.load import Load
from shrota_client.pages.page import Chapter, html_page, markdown_page
from shrota_export import random_checkpoint
from shrota_export.checkpoint import find_checkpoint
from shrota_export.errors import ReportError, SpeechError
from shrota_export.report import build
from shrota_export.report.build import chapters_of, read_report, write_report
from shrota_export.report.compare import compare
from shrota_export.report.material import Material
from shrota_export.report.sections import SECTIONS, in_order_shown, with_needs
from shrota_export.report_cli import NAMES, report
from shrota_testing.checkpoints import make_audio


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


def test_the_weights_are_all_there(made: Path) -> None:
    sections = json.loads((made / "report.json").read_text(encoding="utf-8"))["sections"]
    weights = sections["weights"]["data"]["weights"]
    assert "position_embedding.conv.weight" in weights  # whose weight norm is resolved
    counts = sections["architecture"]["data"]["parameters"]
    assert sum(each["count"] for each in weights.values()) > 0.9 * sum(counts.values())  # the rest: biases, norms


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


@pytest.mark.parametrize("seconds", ["nan", "inf", "-1", "0", "1e9", "ten"])
def test_a_length_that_is_none_is_refused_at_once(seconds: str) -> None:
    result = run("models/none", "--seconds", seconds)
    assert result.exit_code == 2
    assert "--seconds" in result.output


@pytest.mark.parametrize(
    ("lines", "said"),
    [
        ("", "no speech to compare with"),
        ("\x00\x9f", "no speech to compare with"),
        ('{"audio": "missing.wav", "text": ""}', "missing.wav"),
        ('{"audio": "short.wav", "text": ""}', "is as long as a frame"),
    ],
)
def test_a_manifest_without_speech_is_one_line_and_no_report(
    lines: str, said: str, tiny_checkpoint: Path, tmp_path: Path
) -> None:
    soundfile.write(tmp_path / "short.wav", np.zeros(100), 16000)
    (tmp_path / "manifest.jsonl").write_text(lines, encoding="latin-1")
    output = tmp_path / "out"
    options = ("--manifest", tmp_path / "manifest.jsonl", "--output", output, "--only", "architecture")
    result = run(tiny_checkpoint, *options)
    assert isinstance(result.exception, SpeechError), result.exception
    assert said in str(result.exception)
    assert "\n" not in str(result.exception)
    assert not output.exists()


def test_an_output_that_cannot_be_written_is_said_before_anything_is_measured(
    tiny_checkpoint: Path, speech: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_arguments: object) -> None:
        pytest.fail("it was measured")

    monkeypatch.setattr(build, "measure_sections", fail)
    (tmp_path / "file").touch()
    for output in (tmp_path / "file", tmp_path / "file" / "below"):
        result = run(tiny_checkpoint, "--manifest", speech, "--output", output)
        assert isinstance(result.exception, OutputError), result.exception


def test_a_window_that_is_too_short_for_a_frame_does_not_fail_the_others(tiny_checkpoint: Path, tmp_path: Path) -> None:
    """20 s and 100 samples are two windows, the second of which gives no frame."""
    soundfile.write(tmp_path / "long.wav", make_audio(20 * 16000 + 100), 16000)
    (tmp_path / "manifest.jsonl").write_text('{"audio": "long.wav", "text": ""}', encoding="utf-8")
    material = Material(
        find_checkpoint(str(tiny_checkpoint)), tmp_path / "manifest.jsonl", tmp_path, is_random=True, seconds=1
    )
    assert [[window.size for window in spoken.windows] for spoken in material.speech] == [[20 * 16000]]


def test_no_output_names_a_folder_of_the_machine(
    tiny_checkpoint: Path, speech: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Not the checkpoint's, nor that which its config.json was saved from, nor those in what an engine complains of."""
    checkpoint = tmp_path / "models" / "mine"
    shutil.copytree(tiny_checkpoint, checkpoint)
    config = json.loads((checkpoint / "config.json").read_text(encoding="utf-8"))
    (checkpoint / "config.json").write_text(json.dumps({**config, "_name_or_path": "/home/someone/mine"}))

    def fail(material: Material, _found: object) -> dict[str, Any]:
        raise RuntimeError(
            f"Load model from {material.folder}/graph.onnx failed: see {Path.home()}/log, node /head/MatMul"
        )

    monkeypatch.setitem(SECTIONS, "profile", replace(SECTIONS["profile"], measure=fail))
    monkeypatch.chdir(checkpoint)
    options = ("--manifest", speech, "--seconds", 1, "--output", tmp_path / "out", "--only=profile")
    for given in (".", "../mine", checkpoint, f"{checkpoint}/"):
        assert run(given, *options).exit_code == 1
        for file in ("report.json", "report.md", "index.html"):
            text = (tmp_path / "out" / file).read_text(encoding="utf-8")
            for part in (str(tmp_path), tempfile.gettempdir(), str(Path.home()) + "/", "someone", str(speech.parent)):
                assert part not in text, (given, file)
            assert "shrota report mine" in text
            assert "Load model from graph.onnx failed: see log, node /head/MatMul" in text


def test_pictures_that_are_not_a_reports_stay(made: Path, tmp_path: Path) -> None:
    (tmp_path / "scaling.png").touch()
    whole = read_report(made)
    write_report(whole, tmp_path)
    assert (tmp_path / "profile.png").exists()
    write_report({**whole, "sections": {"architecture": whole["sections"]["architecture"]}}, tmp_path)
    assert {path.name for path in tmp_path.glob("*.png")} == {"architecture.png", "scaling.png"}


def test_a_comparison_does_not_replace_what_it_compares(made: Path) -> None:
    before = (made / "report.json").read_bytes()
    for report_ in (made, made / "report.json"):
        result = run("--compare", report_, made, "--output", made)
        assert result.exit_code == 2
        assert "choose another folder" in result.output
    assert (made / "report.json").read_bytes() == before


@pytest.mark.parametrize(
    "content", [b"", b"\x00\xff\x93random", b"[]", b"7", b"{}", b"[" * 100_000, b'{"format": 1, "title": "t"}']
)
def test_a_comparison_with_what_is_no_report_is_one_line(content: bytes, made: Path, tmp_path: Path) -> None:
    (tmp_path / "other.json").write_bytes(content)
    result = run("--compare", made, tmp_path / "other.json", "--output", tmp_path / "out")
    assert isinstance(result.exception, ReportError), result.exception
    assert "other.json" in str(result.exception)
    assert not (tmp_path / "out").exists()


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
    rows = [line for line in text.splitlines() if line.startswith("| ") and line.endswith(" |")]
    ratios = [row.split("|")[5].strip() for row in rows]
    assert {"1"} <= set(ratios) <= {"1", "-", "B / A"}  # "-" where A is 0


def test_the_second_report_stands_over_the_first(made: Path) -> None:
    first, second = read_report(made), read_report(made)
    second["sections"]["architecture"]["data"]["activation_peak_bytes"] *= 3
    chapter = next(chapter for chapter in compare(first, second) if chapter.name == "architecture")
    table = chapter.blocks[0]
    assert isinstance(table, Table)
    row = next(row for row in table.rows if row[0] == "activations at their peak")
    megabytes = first["sections"]["architecture"]["data"]["activation_peak_bytes"] / 1e6
    assert row[1:] == [number(megabytes), number(3 * megabytes), "MB", "3"]


def test_reports_on_audio_of_unlike_length_say_so(made: Path) -> None:
    whole = read_report(made)
    assert "latencies cannot be compared" not in str(compare(whole, whole))
    text = str(compare(whole, {**whole, "audio_seconds": 7.5}))
    assert "A was timed on 1.0 s of audio and B on 7.5 s, so latencies cannot be compared" in text


def test_a_section_that_one_report_lacks_is_said(made: Path) -> None:
    whole = read_report(made)
    part = {**whole, "host": describe_host(["numpy"]), "sections": {"profile": {"failed": "no room"}}}
    chapters = {chapter.name: chapter for chapter in compare(whole, part)}
    assert list(chapters["architecture"].blocks) == [Paragraph("B has no such section.")]
    assert chapters["profile"].blocks == [Paragraph("B has no such section: no room.")]


@pytest.mark.parametrize(
    "broken",
    [
        {"sections": {"architecture": {"data": {}}}},
        {"sections": {"scaling": {"data": {"length": {}}}}},
        {"sections": {"profile": {"data": {"pytorch": {"groups": {"GELU": 1}, "all_s": 0}}}}},
        {"sections": []},
        {"checkpoint": "hindi-small"},
        {"checkpoint": None},
        {"host": 7},
    ],
)
def test_a_report_that_lacks_numbers_is_refused_in_one_line(broken: dict[str, Any], made: Path, tmp_path: Path) -> None:
    content = {**read_report(made), **broken}
    (tmp_path / "broken.json").write_text(json.dumps(content), encoding="utf-8")
    result = run("--compare", tmp_path / "broken.json", tmp_path / "broken.json", "--output", tmp_path / "out")
    assert isinstance(result.exception, ShrotaError), result.exception
    assert "\n" not in str(result.exception)
    assert "is not whole" in str(result.exception)


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
