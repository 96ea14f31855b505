"""``python -m benchmarks.precision`` and ``benchmarks.precision_large``: what they say first, and their parts."""

import json
from pathlib import Path

import numpy as np
import onnx
import pytest
from click.testing import CliRunner, Result

from benchmarks import precision_large
from benchmarks.precision import announcement, main
from benchmarks.precision_speed import measure_shares, measure_speed, profile
from benchmarks.result import Result as Measured
from shrota_export.errors import GateError
from shrota_export.gate import Spoken
from shrota_export.precision.int8 import to_int8
from shrota_testing.precision import load, subject, tiny_graph


@pytest.fixture(scope="module")
def graphs() -> dict[str, bytes]:
    """A tiny model in the place of the large one."""
    return {"float32": tiny_graph(), "int8": to_int8(load(tiny_graph())).SerializeToString()}


def run(*arguments: str) -> Result:
    return CliRunner().invoke(main, arguments)


def test_nothing_to_do_is_said() -> None:
    assert "nothing to do: name manifests for the parity, or rounds for the speed" in run("--rounds", "0").output
    assert "a page needs the parity too: name manifests" in run("--output", "page").output


def test_a_graph_outside_of_a_repository(tmp_path: Path) -> None:
    (tmp_path / "a" / "b").mkdir(parents=True)
    onnx.save(load(tiny_graph()), tmp_path / "a" / "b" / "model.onnx")
    result = run("--graph", str(tmp_path / "a" / "b" / "model.onnx"), str(tmp_path / "manifest.jsonl"))
    assert "lies in no model repository of an export" in str(result.exception)


def test_what_there_is_to_do_is_announced() -> None:
    windows = tuple(np.zeros(size, np.float32) for size in (320_000, 160_000))
    line = announcement([Spoken("one", windows), Spoken("two", windows[1:])], subject("float32", load(tiny_graph())))
    assert line.startswith("parity: fp16, bf16, int8 against float32 on 2 utterances, 40 s of speech; at least ")
    assert line.endswith(" minutes")


def test_the_speed_s_figures(graphs: dict[str, bytes], capsys: pytest.CaptureFixture[str]) -> None:
    result = measure_speed(graphs, 2)
    assert [figure.name for figure in result.figures] == [
        "float32, median",
        "int8, median",
        "float32 over int8, on the clock",
        "float32 over int8, processor time",
    ]
    assert "2 rounds, about " in capsys.readouterr().err


def test_the_profile_counts_each_kind(graphs: dict[str, bytes]) -> None:
    assert {"Conv", "MatMul"} <= profile(graphs["float32"]).keys()
    assert "MatMulIntegerToFloat" in profile(graphs["int8"])
    shares = [figure.value for figure in measure_shares(graphs).figures if figure.unit == "%"]
    assert 0 < max(shares) <= 100


def test_a_command_s_time_and_memory() -> None:
    done = precision_large.call("--version")
    assert done.seconds > 0
    assert done.peak_bytes > 2**20
    with pytest.raises(GateError, match=r"^shrota export onnx missing ended with exit code \d"):
        precision_large.call("export", "onnx", "missing", "--repository", "nowhere")


def test_the_page_has_the_command_with_its_options(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("export", "convert"):
        monkeypatch.setattr(precision_large, name, lambda *_: Measured("Step", "done", []))
    output = tmp_path / "page" / "large"
    output.parent.mkdir()
    arguments = ["--layers", "1", "--to", "int8", "--to", "fp16", "--output", str(output)]
    CliRunner().invoke(precision_large.main, arguments, catch_exceptions=False)
    command = "python -m benchmarks.precision_large --layers 1 --to int8 --to fp16 --output page/large"
    assert f"`{command}`; layers: 1; " in output.with_suffix(".md").read_text(encoding="utf-8")
    content = json.loads(output.with_suffix(".json").read_text(encoding="utf-8"))
    assert (content["command"], content["shape"]["num_hidden_layers"]) == (command, 1)


def test_only_the_sentences_are_run(tmp_path: Path) -> None:
    lines = precision_large.write_manifest(tmp_path).read_text(encoding="utf-8").splitlines()
    assert len(lines) == 4
    assert all(Path(json.loads(line)["audio"]).is_file() for line in lines)
