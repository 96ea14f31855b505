"""The report's measured variants: errors, memory, and what is chosen of them."""

import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner

from shrota_export.checkpoint import find_checkpoint
from shrota_export.engines import Engine, open_engine
from shrota_export.errors import ReportError
from shrota_export.exporters import Exporter, export_graph
from shrota_export.gate import Spoken, Subject
from shrota_export.graph.engine import AcousticEngine
from shrota_export.loading import load_model
from shrota_export.paths import MODEL
from shrota_export.precision.kinds import Precision
from shrota_export.report import child, served, variants
from shrota_export.report.build import PICTURES
from shrota_export.report.judging import judge
from shrota_export.report.sections import backends, graph, scaling, summary, tradeoff
from shrota_export.report.sections.backends import best, keeps
from shrota_export.report_cli import report
from shrota_export.vocabulary import Vocabulary

VOCABULARY = Vocabulary(["<pad>", "|", "क", "ख"], "<pad>", "|", ["<pad>"])


def subject(precision: Precision = Precision.FP32, *, is_random: bool = False) -> Subject:
    """A variant that is judged by what it gave; it is not run."""

    def never(_audio: Any, _lengths: Any) -> Any:
        raise AssertionError("it is not run")

    return Subject("variant", never, precision, vocabulary=None if is_random else VOCABULARY)


def path_of(*tokens: int) -> Any:
    """Log-probabilities [F, 4] whose best tokens are these."""
    return np.where(np.eye(4, dtype=bool)[list(tokens)], -0.1, -5.0).astype(np.float32)


def test_errors_are_counted_on_the_text_of_all_windows() -> None:
    """Two words of two utterances; the variant hears one of them wrong, and one of five frames changes."""
    speech = [Spoken("one", (np.zeros(1, np.float32),), "क ख"), Spoken("two", (np.zeros(1, np.float32),), "ख ख")]
    right = [[path_of(2, 1, 3)], [path_of(3), path_of(3)]]
    wrong = [[path_of(2, 1, 2)], [path_of(3), path_of(3)]]
    found = judge(right, wrong, speech, subject())
    assert found["errors"]["words"] == 4
    assert found["errors"]["word_error_rate"] == 0.25
    assert found["errors"]["rise"] == 0.25
    assert found["difference"]["changed_frames"] == 0.2
    assert found["difference"]["largest"] == pytest.approx(4.9)


def test_random_weights_have_no_error_rates() -> None:
    speech = [Spoken("one", (np.zeros(1, np.float32),), "क")]
    assert judge([[path_of(2)]], [[path_of(3)]], speech, subject(is_random=True))["errors"] is None


def variant(**changes: Any) -> dict[str, Any]:
    """One as the section on backends gives it."""
    return {
        "precision": "int8",
        "note": "",
        "is_served": True,
        "latency": {"median": 0.1, "low": 0.1, "high": 0.1, "p95": 0.1, "count": 3},
        "audio_seconds_per_second": {"1": 10.0, "2": 12.0, "4": 11.0},
        "real_time_factor": {"1": 0.1},
        "load_s": 1.0,
        "peak_bytes": 1e6,
        "difference": {"mean": 0.1, "largest": 1.0, "changed_frames": 0.001},
        "errors": {
            "words": 100,
            "word_error_rate": 0.1,
            "word_error_rate_interval": (0.05, 0.15),
            "character_error_rate": 0.02,
            "character_error_rate_interval": None,
            "rise": 0.0,
            "rise_interval": None,
        },
        "failures": [],
        **changes,
    }


def test_the_best_batch() -> None:
    assert best(variant()) == (2, 12.0)


def test_a_variant_that_the_gate_would_refuse_is_not_kept() -> None:
    assert keeps(variant())
    assert not keeps(variant(failures=["the word error rate rises by 0.51 points"]))


def test_the_gate_judges_with_its_own_allowances() -> None:
    """Of 300 words int8 may have 1.5 more wrong; one more is allowed of any number, because it proves nothing."""
    speech = [Spoken("one", (np.zeros(1, np.float32),), "क " * 300)]
    right = [[path_of(*[2, 1] * 300)]]

    def failures(wrong_words: int, precision: Precision = Precision.INT8) -> list[str]:
        row = right[0][0].copy()
        row[: 2 * wrong_words : 2, 3] = -0.09  # another token wins by little
        found = judge(right, [[row]], speech, subject(precision))
        assert found["errors"]["rise"] == pytest.approx(wrong_words / 300)
        return list(found["failures"])

    assert failures(0, Precision.FP32) == []
    assert failures(1) == []
    assert any("the word error rate rises by 0.67 points" in failure for failure in failures(2))
    assert any("log-probabilities differ" in failure for failure in failures(1, Precision.FP32))
    broken = judge(right, [[np.full_like(right[0][0], np.nan)]], speech, subject(Precision.INT8))
    assert "NaN" in broken["failures"][0]


FAST = {"1": 30.0}
FOUND: dict[str, Any] = {
    "backends": {
        "seconds": 10.0,
        "batch_seconds": 5.0,
        "variants": {
            "PyTorch fp32": variant(is_served=False),
            "slow": variant(audio_seconds_per_second={"1": 5.0}),
            "good": variant(),
            "wrong": variant(audio_seconds_per_second=FAST, failures=["too many words wrong"]),
            "not served": variant(audio_seconds_per_second=FAST, is_served=False),
        },
    },
    "scaling": {"threads": {"1": {"median": 0.4}, "2": {"median": 0.2}, "4": {"median": 0.25}}},
}


def test_the_summary_recommends_the_fastest_that_is_served_and_right() -> None:
    data = summary.measure(None, FOUND)  # type: ignore[arg-type]
    assert data["variant"] == "good"
    assert (data["batch"], data["batch_budget_seconds"]) == (2, 10.0)
    assert (data["threads"], data["thread_gain"]) == (2, 2.0)
    assert data["refused"] == {"wrong": "too many words wrong"}
    assert data["faster"] == {"not served": 2.5}
    text = str(summary.show(data, FOUND))
    assert "run good with 2 threads and batches of up to 10 s" in text
    assert "not served (2.50 times)" in text
    assert "wrong (too many words wrong)" in text
    assert "in float32, 2 threads are 2.00 times as fast as one" in text
    assert "Triton" not in text
    backends_ = {**FOUND["backends"], "triton": {"good": {"added": {"median": 0.0123}}}}
    assert "that were tried; Triton adds +1.2 %." in str(summary.show(data, {**FOUND, "backends": backends_}))


def test_without_a_variant_that_holds_there_is_no_recommendation() -> None:
    none = {**FOUND, "backends": {**FOUND["backends"], "variants": {"wrong": FOUND["backends"]["variants"]["wrong"]}}}
    with pytest.raises(ReportError, match="no variant"):
        summary.measure(None, none)  # type: ignore[arg-type]


def test_the_trade_off_marks_what_nothing_beats() -> None:
    data = tradeoff.measure(None, FOUND)  # type: ignore[arg-type]
    assert data["unit"] == "word error rate, %"
    assert data["frontier"] == ["wrong", "not served"]  # as good as each other; the rest is slower


def test_memory_of_a_process_of_its_own(tmp_path: Path) -> None:
    np.save(tmp_path / "audio.npy", np.zeros((1, 1600), np.float32))
    with pytest.raises(ReportError, match=r"a process of its own failed: .*missing\.onnx"):
        child.measure_process("onnx", tmp_path / "missing.onnx", tmp_path / "audio.npy")


def test_a_process_that_takes_too_long_is_ended(tmp_path: Path) -> None:
    """It would load PyTorch, which takes longer."""
    with pytest.raises(ReportError, match=r"^it was given up after 0\.01 s$"):
        child.measure_process("torch", tmp_path, tmp_path / "audio.npy", 0.01)


@pytest.mark.parametrize("kind", ["torch", "onnx"])
def test_a_process_of_its_own_says_time_and_memory(kind: str, tiny_checkpoint: Path, tmp_path: Path) -> None:
    """Of 60 s more than of 1 s: the first layer alone holds 60 * 16000 / 5 frames of 32 channels in float32, 24 MB."""
    source = tiny_checkpoint
    if kind == "onnx":
        checkpoint = find_checkpoint(str(tiny_checkpoint))
        source = tmp_path / "graph.onnx"
        export_graph(AcousticEngine(load_model(checkpoint), normalize=True).eval(), source, Exporter.TORCHSCRIPT)
    found = []
    for seconds in (1, 60):
        np.save(tmp_path / "audio.npy", np.zeros((1, 16000 * seconds), np.float32))
        found.append(child.measure_process(kind, source, tmp_path / "audio.npy"))
    assert all(0 < each["load_s"] < 60 for each in found)
    assert found[1]["peak_bytes"] > found[0]["peak_bytes"] + 20e6


def refuse(_material: Any) -> Any:
    raise ReportError("no room")


@contextmanager
def serve_bare(repository: Path) -> Iterator[tuple[Engine, int]]:
    """No server: the graph that it would serve, in this process."""
    yield open_engine(repository / MODEL), os.getpid()


def test_all_sections_of_a_tiny_checkpoint(
    tiny_checkpoint: Path, speech: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for module in (backends, scaling):
        monkeypatch.setattr(module, "LENGTHS_S", (0.5, 1.0, 2.0))
        monkeypatch.setattr(module, "BATCHES", (1, 2))
        monkeypatch.setattr(module, "ROUNDS", 2)
        monkeypatch.setattr(
            module,
            "measure_process",
            lambda _kind, _source, audio: {"load_s": 0.1, "peak_bytes": np.load(audio).nbytes},
        )
    monkeypatch.setattr(backends, "LATENCY_ROUNDS", 2)
    # a compiler and a server have tests of their own
    monkeypatch.setattr(variants, "compile_engine", refuse)
    monkeypatch.setattr(served, "serving", serve_bare)
    monkeypatch.setattr(graph, "ROUNDS", 2)
    options = ["--manifest", str(speech), "--seconds", "1", "--output", str(tmp_path)]
    result = CliRunner().invoke(report, [str(tiny_checkpoint), *options])
    sections = json.loads((tmp_path / "report.json").read_text(encoding="utf-8"))["sections"]
    assert {name: each.get("failed") for name, each in sections.items() if "failed" in each} == {}, result.output
    stages = sections["graph"]["data"]["stages"]
    assert all(stage["difference_from_pytorch"] < 1e-3 for stage in stages.values())
    assert (
        stages["fused: all, rewritten"]["nodes"] < stages["ONNX Runtime, basic"]["nodes"] < stages["exported"]["nodes"]
    )
    measured = sections["backends"]["data"]
    assert {"PyTorch fp32", "ONNX Runtime fp32", "ONNX Runtime fp16", "ONNX Runtime int8"} <= measured[
        "variants"
    ].keys()
    assert 0 < measured["variants"]["ONNX Runtime fp32"]["difference"]["largest"] < 1e-3
    assert all(each["failures"] == [] for name, each in measured["variants"].items() if "fp32" in name)
    assert "ONNX Runtime bf16" in measured["missing"]
    assert measured["missing"]["PyTorch fp32, compiled"] == "no room"
    assert list(measured["triton"]) == ["ONNX Runtime fp32", "ONNX Runtime fp16", "ONNX Runtime int8"]
    for each in measured["triton"].values():
        assert each["difference_from_bare"] == 0
        assert each["latency"]["count"] == each["bare_latency"]["count"] == 2
        assert list(each["audio_seconds_per_second"]) == list(each["added_by_batch"]) == ["1", "2"]
    assert sections["scaling"]["data"]["memory"]["batch"] == {
        "1": 320_000,
        "2": 640_000,
        "4": 1_280_000,
        "8": 2_560_000,
    }
    text = (tmp_path / "report.md").read_text(encoding="utf-8")
    assert "could not be shown" not in text
    assert {path.stem for path in tmp_path.glob("*.png")} <= PICTURES
    assert all(str(folder) not in text for folder in (tmp_path, tiny_checkpoint.parent, speech.parent, Path.cwd()))
    assert text.index("## Summary") < text.index("## Architecture")
