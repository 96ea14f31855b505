"""``make sweep``."""

import subprocess
import sys
from pathlib import Path

import pytest

from scripts.sweep import SWEEP, main
from shrota_loadtest.errors import PerfAnalyzerError
from shrota_loadtest.perf_analyzer.program import NEEDED
from shrota_loadtest.sweep.command import TURN_POINTS
from shrota_loadtest.sweep.plan import BATCH, CONCURRENCY, RATE, numbers, plan, ways
from shrota_loadtest.sweep.settings import configurations, parse_axis
from shrota_loadtest.sweep.verdict import LEAST_ROUNDS
from shrota_loadtest.sweep_cli import sweep
from shrota_testing.perf_analyzer import write_script
from shrota_testing.repository import ROOT
from shrota_testing.triton import wait_until


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


def test_there_is_time_for_three_rounds_of_each_configuration_within_ten_minutes() -> None:
    asked = sweep.make_context("sweep", list(SWEEP)).params
    full = ways(asked["models"], asked["protocols"], asked["shared_memory"])
    brief = ways(asked["also"], asked["protocols"][:1], asked["shared_memory"][:1])
    given = {CONCURRENCY: asked["concurrency"], RATE: asked["request_rate"], BATCH: asked["batch"]}
    points = plan(full, brief, {axis: numbers(text, whole=False) for axis, text in given.items()})
    turns = asked["rounds"] * len(configurations([parse_axis(text) for text in asked["settings"]], grid=asked["grid"]))
    assert asked["rounds"] >= LEAST_ROUNDS
    turn_s = TURN_POINTS * asked["seconds"]
    # a tenth more than their seconds, to start and to wait for the last answers
    assert 1.1 * (len(points) * asked["seconds"] + turns * turn_s) <= 60 * asked["minutes"]
    # beside them the last turn, and one minute for the export and the page
    assert 60 * asked["minutes"] + turn_s + 60 <= 600


def test_sigterm_ends_what_was_started_and_waits_for_it(tmp_path: Path) -> None:
    shrota = tmp_path / "shrota"
    shrota.write_text(
        f"#!/bin/sh\ntrap 'sleep 0.5; touch {tmp_path}/ended; exit 1' TERM\n"
        f"touch {tmp_path}/begun\nwhile :; do sleep 0.05; done\n",
        encoding="utf-8",
    )
    shrota.chmod(0o755)
    program = write_script(tmp_path, f'echo "{" ".join(NEEDED)}"')
    code = (
        "import sys; from pathlib import Path; from scripts import command, repository, sweep\n"
        f"repository.SHROTA = Path({str(shrota)!r})\n"
        f"sys.argv = ['sweep', '--perf-analyzer', {program!r}, '--repository', {str(tmp_path / 'repository')!r}]\n"
        "command.run(sweep.main)"
    )
    with subprocess.Popen([sys.executable, "-c", code], cwd=ROOT, stderr=subprocess.PIPE, text=True) as process:
        assert wait_until((tmp_path / "begun").is_file, 30)
        process.terminate()
        _, said = process.communicate(timeout=20)
    assert (process.returncode, said) == (1, "shrota: stopped\n")
    assert (tmp_path / "ended").is_file()
