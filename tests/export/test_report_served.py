"""The report's variants through Triton."""

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import psutil
import pytest
from onnx import TensorProto, helper, numpy_helper

from shrota_client.pages.blocks import Table
from shrota_export.checkpoint import find_checkpoint
from shrota_export.configuration import read_configuration
from shrota_export.engines import Engine, open_engine
from shrota_export.errors import GateError, RepositoryError
from shrota_export.paths import MODEL
from shrota_export.precision.kinds import Precision
from shrota_export.report import served
from shrota_export.report.material import Material
from shrota_export.report.served import Rounds, added, make_repository, measure_served, memory_of, serving
from shrota_export.report.served_tables import served_figures, show_served
from shrota_export.report.variants import Variant
from shrota_export.report_cli import report

ROUNDS = Rounds(latency=3, throughput=2, batches=(1, 2), batch_seconds=0.5)


@pytest.fixture
def material(tiny_checkpoint: Path, speech: Path, tmp_path: Path, repository: Path) -> Material:
    """Of the tiny checkpoint, with a repository in which nothing is exported."""
    checkpoint = find_checkpoint(str(tiny_checkpoint))
    return Material(checkpoint, speech, tmp_path, is_random=True, seconds=1, repository=repository)


@pytest.fixture
def fp32(material: Material) -> Variant:
    graph = material.graph_path
    return Variant(open_engine(graph), Precision.FP32, "onnx", graph, is_served=True)


def test_what_triton_adds_is_that_of_neighbouring_runs() -> None:
    """10, 20 and 40 % more than the run beside; the medians alone, 2.4 and 2, would say 20 % of any three."""
    found = added({"triton": [1.1, 2.4, 4.2], "bare": [1.0, 2.0, 3.0]})
    assert found == pytest.approx({"low": 0.15, "median": 0.2, "high": 0.3})
    assert added({"triton": [0.9], "bare": [1.0]})["median"] == pytest.approx(-0.1)


def test_the_repository_is_configured_like_the_other(repository: Path, tmp_path: Path) -> None:
    """On the processor, with this vocabulary, without warm-up requests, with the weights beside the graph."""
    weights = helper.make_tensor_value_info("LOG_PROBS", TensorProto.FLOAT, [1024])
    graph = helper.make_graph(
        [helper.make_node("Identity", ["w"], ["LOG_PROBS"])],
        "graph",
        [],
        [weights],
        [numpy_helper.from_array(np.ones(1024, np.float32), "w")],
    )
    path = tmp_path / "graphs" / "int8.onnx"
    path.parent.mkdir()
    onnx.save(helper.make_model(graph), path, save_as_external_data=True, location="int8.onnx.data", size_threshold=0)
    made = make_repository(repository, path, tmp_path / "made", 5)
    old, new = (read_configuration(each / "acoustic_onnx" / "config.pbtxt") for each in (repository, made))
    assert [list(output.dims) for output in new.output] == [[-1, 5], [1]]
    assert [(group.kind, group.count) for group in new.instance_group] == [(new.instance_group[0].KIND_CPU, 1)]
    assert old.model_warmup
    assert not new.model_warmup
    assert new.parameters["intra_op_thread_count"] == old.parameters["intra_op_thread_count"]
    assert new.dynamic_batching == old.dynamic_batching
    assert (made / MODEL).samefile(path)
    assert (made / MODEL).with_name("int8.onnx.data").samefile(path.with_name("int8.onnx.data"))


@pytest.mark.triton
def test_a_variant_through_a_real_server(material: Material, fp32: Variant, monkeypatch: pytest.MonkeyPatch) -> None:
    """The same log-probabilities, later; the server is gone afterwards, whatever happens while it runs."""
    processes: list[int] = []

    @contextmanager
    def watched(repository: Path) -> Iterator[tuple[Engine, int]]:
        with serving(repository) as (engine, process):
            processes.append(process)
            yield engine, process

    monkeypatch.setattr(served, "serving", watched)
    bare = Variant(fp32.engine, Precision.FP32, "onnx", fp32.source)
    found, missing = measure_served(material, {"bare": bare, "served": fp32}, ROUNDS)
    assert missing == {}
    assert list(found) == ["served"]
    each = found["served"]
    assert each["difference_from_bare"] < 1e-5
    assert each["latency"]["count"] == each["bare_latency"]["count"] == 3
    assert 0 < each["latency"]["low"] <= each["latency"]["median"] <= each["latency"]["p95"] < 10
    assert each["added"]["low"] <= each["added"]["median"] <= each["added"]["high"]
    assert list(each["audio_seconds_per_second"]) == list(each["added_by_batch"]) == ["1", "2"]
    assert all(value > 0 for value in each["audio_seconds_per_second"].values())
    assert 0 < each["ready_s"] < 100
    assert each["peak_bytes"] > 50e6  # tritonserver alone is larger

    def interrupted() -> None:
        with watched(material.folder / "served" / "1") as (engine, _process):
            assert engine(*material.audio(1.0))[0].shape[2] == material.config["vocab_size"]
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert len(processes) == 2
    assert not any(psutil.pid_exists(process) for process in processes)


def test_without_the_package_the_reason_is_said_once(
    material: Material, fp32: Variant, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "shrota_server", None)
    assert measure_served(material, {"one": fp32, "two": fp32}, ROUNDS) == (
        {},
        {"any of these through Triton": "no Triton server here: the package shrota-server is not installed"},
    )


def test_without_a_repository_the_reason_is_said_once(material: Material, fp32: Variant, tmp_path: Path) -> None:
    material.repository = tmp_path / "none"
    found, missing = measure_served(material, {"one": fp32, "two": fp32}, ROUNDS)
    assert found == {}
    assert list(missing) == ["any of these through Triton"]
    assert "name it with --repository" in missing["any of these through Triton"]
    assert str(tmp_path) not in missing["any of these through Triton"]


def test_one_that_fails_leaves_the_others(material: Material, fp32: Variant, monkeypatch: pytest.MonkeyPatch) -> None:
    """The second answers no request."""
    ended = []

    @contextmanager
    def serve(repository: Path) -> Iterator[tuple[Any, int]]:
        def fail(_audio: Any, _lengths: Any) -> Any:
            raise GateError("acoustic_onnx does not answer")

        try:
            yield (fail if repository.name == "1" else open_engine(repository / MODEL)), os.getpid()
        finally:
            ended.append(repository.name)

    monkeypatch.setattr(served, "serving", serve)
    found, missing = measure_served(material, {"one": fp32, "two": fp32, "three": fp32}, ROUNDS)
    assert list(found) == ["one", "three"]
    assert missing == {"two through Triton": "acoustic_onnx does not answer"}
    assert ended == ["0", "1", "2"]


def test_the_memory_of_a_process_is_that_of_its_children_too() -> None:
    import subprocess

    alone = memory_of(os.getpid())
    code = "block = bytearray(100_000_000); print(flush=True); input()"
    with subprocess.Popen([sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as child:
        assert child.stdout is not None
        child.stdout.readline()
        assert memory_of(os.getpid()) > alone + 100e6
        child.communicate(b"\n")


SERVED: dict[str, Any] = {
    "ready_s": 2.5,
    "peak_bytes": 456e6,
    "difference_from_bare": 0.0,
    "latency": {"median": 0.1, "low": 0.09, "high": 0.12, "p95": 0.2, "count": 25},
    "bare_latency": {"median": 0.09, "low": 0.08, "high": 0.11, "p95": 0.2, "count": 25},
    "added": {"median": 0.0123, "low": -0.001, "high": 0.03},
    "audio_seconds_per_second": {"1": 40.0, "2": 55.5},
    "added_by_batch": {"1": 0.1, "2": -0.02},
}


def test_what_is_shown_and_compared() -> None:
    data = {"seconds": 10.0, "batch_seconds": 5.0, "triton": {"int8": SERVED}}
    latency, throughput = show_served(data)
    assert isinstance(latency, Table)
    assert isinstance(throughput, Table)
    assert latency.rows == [
        [
            "int8",
            "100.0 ms (90.0 to 120.0)",
            "200.0 ms",
            "90.0 ms",
            "+1.2 % (-0.1 to +3.0)",
            "2.5 s",
            "456 MB",
            "0",
        ]
    ]
    assert throughput.head == ["through Triton", "batch 1", "batch 2"]
    assert throughput.rows == [["int8", "40 s/s (+10.0 %)", "55.5 s/s (-2.0 %)"]]
    assert all(len(table.head) == len(row) for table in (latency, throughput) for row in table.rows)
    assert served_figures(data) == [
        ("int8 through Triton, latency", 100.0, "ms"),
        ("int8 through Triton, most throughput", 55.5, "s/s"),
        ("int8, Triton adds", pytest.approx(1.23), "%"),
    ]


@pytest.mark.parametrize("data", [{}, {"triton": {}}])
def test_a_report_without_a_server_shows_nothing_of_it(data: dict[str, Any]) -> None:
    assert show_served(data) == []
    assert served_figures(data) == []


def test_a_repository_that_is_none_is_refused_before_anything_is_measured(tmp_path: Path) -> None:
    from click.testing import CliRunner

    result = CliRunner().invoke(report, ["nothing", "--repository", str(tmp_path)])
    assert isinstance(result.exception, RepositoryError)
    assert "no model repository at" in str(result.exception)
