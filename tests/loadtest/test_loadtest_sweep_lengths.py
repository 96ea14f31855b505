"""Every length really is sent: the real perf_analyzer against a real server, whose model writes down what comes."""

import shutil
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from shrota_loadtest.perf_analyzer.data import entries_for, write_input
from shrota_loadtest.perf_analyzer.run import Load, Measured, run
from shrota_server import TritonServer
from shrota_testing.perf_analyzer import REAL, needs_perf_analyzer

pytestmark = [pytest.mark.triton, needs_perf_analyzer]

CONFIG = """
name: "recorder"
backend: "python"
max_batch_size: 8
input [ { name: "AUDIO" data_type: TYPE_FP32 dims: [ -1 ] } ]
output [ { name: "SAMPLES" data_type: TYPE_INT32 dims: [ 1 ] } ]
"""
WITHOUT_BATCHING = """
name: "acoustic_trt"
backend: "python"
max_batch_size: 0
input [
  { name: "AUDIO" data_type: TYPE_FP32 dims: [ -1, -1 ] },
  { name: "NUM_SAMPLES" data_type: TYPE_INT32 dims: [ -1, 1 ] }
]
output [ { name: "SAMPLES" data_type: TYPE_INT32 dims: [ -1, 1 ] } ]
"""
"""With the inputs of ``acoustic_trt``."""
CLIPS = [np.full(size, size / 1000, np.float32) for size in (100, 2000, 300, 4000, 500, 6000, 700)]
SIZES = [clip.size for clip in CLIPS]
SECONDS = 1.5


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TritonServer]:
    """Serves ``recorder``, and under the name of an engine the same without batching."""
    repository = tmp_path_factory.mktemp("recorder")
    for name, config in (("recorder", CONFIG), ("acoustic_trt", WITHOUT_BATCHING)):
        folder = repository / name / "1"
        folder.mkdir(parents=True)
        (folder.parent / "config.pbtxt").write_text(config, encoding="utf-8")
        shutil.copy(Path(__file__).with_name("recorder_model.py"), folder / "model.py")
    with TritonServer(repository, ["recorder", "acoustic_trt"], open_to_all=["shared-memory"]) as running:
        yield running


def sent(
    server: TritonServer, load: Load, clips: Sequence[NDArray[np.float32]], folder: Path, rows: int = 1
) -> tuple[Measured, list[tuple[int, float, int]]]:
    """What perf_analyzer measured, and what the model was sent: samples, first sample, rows of the request."""
    record = server.repository / load.model / "record.txt"
    record.unlink(missing_ok=True)
    write_input(folder / "input.json", clips, load.model, rows)
    measured = run(str(REAL), load, folder / "input.json", folder)
    lines = [line.split() for line in record.read_text(encoding="utf-8").splitlines()]
    return measured, [(int(size), float(first), int(rows)) for size, first, rows in lines]


def load_on(server: TritonServer, concurrency: int | None, **options: object) -> Load:
    url = server.http_url if options.get("protocol") == "http" else server.grpc_url
    return Load("recorder", url, concurrency, SECONDS, **options)  # type: ignore[arg-type]


def test_one_worker_goes_round_the_entries_in_their_order(server: TritonServer, tmp_path: Path) -> None:
    measured, found = sent(server, load_on(server, 1), CLIPS, tmp_path)
    assert measured.report.inferences_per_second > 10
    assert len(found) > 10 * len(CLIPS)
    # a request that the program sends to learn whether the model answers may come first
    first = found.index((SIZES[0], 0.1, 1))
    expected = [(SIZES[number % len(SIZES)], SIZES[number % len(SIZES)] / 1000, 1) for number in range(len(found))]
    assert first <= 1
    assert found[first:] == expected[: len(found) - first]


@pytest.mark.parametrize(
    ("protocol", "memory"), [("grpc", "none"), ("grpc", "system"), ("http", "none"), ("http", "system")]
)
def test_several_workers_send_each_length_equally_often(
    server: TritonServer, tmp_path: Path, protocol: str, memory: str
) -> None:
    load = load_on(server, 4, protocol=protocol, shared_memory=memory)
    measured, found = sent(server, load, CLIPS, tmp_path)
    counts = Counter(size for size, _, _ in found)
    assert set(counts) == set(SIZES)
    assert max(counts.values()) - min(counts.values()) <= load.workers + 1
    assert all(first == pytest.approx(size / 1000) for size, first, _ in found)
    assert (measured.export is not None) == (memory == "system")
    if measured.export is not None:
        assert measured.export.longest_ms >= measured.report.latency_ms[99]


def test_a_rate_sends_each_length_equally_often(server: TritonServer, tmp_path: Path) -> None:
    load = load_on(server, None, rate=200.0)
    measured, found = sent(server, load, entries_for(CLIPS, load.workers), tmp_path)
    counts = Counter(size for size, _, _ in found)
    assert set(counts) == set(SIZES)
    assert max(counts.values()) - min(counts.values()) <= load.workers + 1
    assert measured.report.inferences_per_second == pytest.approx(200, rel=0.05)


def test_rows_are_neighbouring_entries(server: TritonServer, tmp_path: Path) -> None:
    clips = [np.full(800, value, np.float32) for value in (0.1, 0.2, 0.3, 0.4, 0.5)]
    measured, found = sent(server, load_on(server, 1, rows=2), clips, tmp_path)
    rows = [round(10 * first) for _, first, count in found if count == 2]
    assert len(rows) > 20
    start = rows.index(1) if rows[0] != 1 else 0
    assert rows[start : start + 10] == [1, 2, 3, 4, 5, 1, 2, 3, 4, 5]
    # inferences are rows
    assert measured.said.requests is not None
    assert measured.report.inferences_per_second > 20


def test_rows_in_the_shape_where_triton_makes_no_batches(server: TritonServer, tmp_path: Path) -> None:
    clips = [np.full(800, value, np.float32) for value in (0.1, 0.2, 0.3)]
    load = Load("acoustic_trt", server.grpc_url, 1, SECONDS)
    measured, found = sent(server, load, clips, tmp_path, rows=2)
    assert {count for _, _, count in found} == {2}
    assert [round(10 * first) for _, first, _ in found][:6] == [1, 2, 2, 3, 3, 1]
    # inferences are requests; windows last somewhat longer than they should
    assert measured.said.requests is not None
    at_most = measured.said.requests / (3 * load.window_s)
    assert 0.6 * at_most < measured.report.inferences_per_second < 1.05 * at_most


def test_with_a_common_divisor_a_worker_stays_with_its_share(server: TritonServer, tmp_path: Path) -> None:
    """Why :func:`entries_for` takes one entry away: here each of two workers has one length, and sends it alone."""
    short, long = np.full(100, 0.1, np.float32), np.full(200_000, 0.2, np.float32)
    _, found = sent(server, load_on(server, 2), [short, long], tmp_path)
    counts = Counter(size for size, _, _ in found)
    assert counts[short.size] > 1.2 * counts[long.size]
    assert len(entries_for([short, long, short], 2)) == 3
