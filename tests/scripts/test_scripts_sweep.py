"""``make sweep``."""

import sys

import pytest

from scripts.sweep import SWEEP, main
from shrota_loadtest.errors import PerfAnalyzerError
from shrota_loadtest.sweep_cli import sweep


def test_without_perf_analyzer_nothing_is_exported(monkeypatch: pytest.MonkeyPatch) -> None:
    exported: list[str] = []
    monkeypatch.setattr("scripts.sweep.export", lambda checkpoint, _: exported.append(checkpoint))
    monkeypatch.setattr(sys, "argv", ["sweep", "--perf-analyzer", "/none/perf_analyzer"])
    with pytest.raises(PerfAnalyzerError, match=r"^no perf_analyzer at /none/perf_analyzer: take it from"):
        main()
    assert exported == []


def test_what_is_asked_of_the_command_is_known_to_it() -> None:
    context = sweep.make_context("sweep", list(SWEEP))
    assert context.params["models"] == ("asr",)
    assert context.params["settings"] == ("acoustic.batch_budget_seconds=20", "acoustic_onnx.instances=2")
    assert context.params["minutes"] < 10
