"""Memory of the server's processes: read from real ones, and told of both ends of a time."""

import os
import subprocess
import sys
import time

import psutil
import pytest

from shrota_client.pages.load import Load
from shrota_loadtest.errors import LoadTestError
from shrota_loadtest.processes import (
    MemoryWatch,
    Others,
    Sample,
    find_process,
    memory_figures,
    read_memory,
    read_processor_s,
)
from shrota_testing.triton import wait_until

MIB = 2**20
HOLD = "import sys, time; held = bytearray(40 * 2**20); print('ready', flush=True); time.sleep(60)"


@pytest.fixture
def holder() -> "subprocess.Popen[bytes]":  # type: ignore[misc]
    """A process that holds 40 MiB."""
    with subprocess.Popen([sys.executable, "-c", HOLD, "acoustic_0_0"], stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"ready\n"
        yield process
        process.kill()


def test_the_memory_of_a_process_and_those_under_it_is_read(holder: "subprocess.Popen[bytes]") -> None:
    memory = read_memory(psutil.Process())
    name = f"acoustic_0_0 ({holder.pid})"  # as Triton's process of a model is told by its arguments
    assert 40 * MIB < memory[name] < 80 * MIB
    assert any(f"({os.getpid()})" in other for other in memory)


def test_a_watch_takes_samples_until_it_ends(holder: "subprocess.Popen[bytes]") -> None:
    with MemoryWatch(lambda: holder.pid, every_s=0.05) as watch:
        time.sleep(0.5)
    count = len(watch.samples)
    assert count >= 3
    assert all(sum(sample.bytes.values()) > 40 * MIB for sample in watch.samples)
    assert len(watch.samples) == count


def test_what_the_server_and_we_used_is_not_that_of_others() -> None:
    """Of 12 processor seconds in 5 s, 2 were ours, and the server's as many as it really uses."""
    work = "import time; end = time.process_time() + 0.5\nwhile time.process_time() < end: pass\ntime.sleep(60)"
    loads, moments = iter([Load(100.0, 10.0), Load(112.0, 12.0)]), iter([50.0, 55.0])
    with subprocess.Popen([sys.executable, "-c", work]) as server:
        with Others(lambda: server.pid, lambda: next(loads), lambda: next(moments)) as others:
            assert wait_until(lambda: read_processor_s(psutil.Process(server.pid)) >= 0.5, 30)
            used_s = read_processor_s(psutil.Process(server.pid))
        server.kill()
    seconds = 5 * (os.cpu_count() or 1)
    assert others.share == pytest.approx((10 - used_s) / seconds, abs=0.2 / seconds)


def test_a_process_that_is_not_there_is_one_line() -> None:
    with pytest.raises(LoadTestError, match="no process 999999999"):
        find_process(999999999)


def samples(sizes: dict[float, dict[str, int]]) -> list[Sample]:
    return [Sample(at, memory) for at, memory in sizes.items()]


def test_growth_is_from_the_median_of_the_first_tenth_to_that_of_the_last() -> None:
    sizes = {99.0: {"a": 1}, **{100.0 + second: {"a": 100, "b": 50} for second in range(101)}}
    for second in range(4, 8):
        sizes[100.0 + second]["a"] = 101
    sizes[150.0]["b"] = 900
    for second in range(90, 101):
        sizes[100.0 + second] = {"a": 104, "b": 50}
    found = memory_figures(samples(sizes), 100.0, 200.0)
    rows = {row["process"]: row for row in found["processes"]}
    assert (rows["a"]["start_bytes"], rows["a"]["end_bytes"]) == (100, 104)
    assert rows["a"]["growth"] == pytest.approx(0.04)
    assert rows["b"]["growth"] == 0
    assert found["peak_bytes"] == 1000
    assert found["series"]["seconds"][0] == -1.0
    assert found["series"]["bytes"]["b"][:2] == [None, 50]


def test_a_process_that_came_or_went_has_no_growth() -> None:
    sizes = {0.0: {"a": 1, "old": 2}, 1.0: {"a": 1, "old": 2}, 9.5: {"a": 1, "new": 3}, 10.0: {"a": 1, "new": 3}}
    growths = {row["process"]: row["growth"] for row in memory_figures(samples(sizes), 0.0, 10.0)["processes"]}
    assert growths == {"a": 0, "old": None, "new": None}


def test_no_sample_at_an_end_is_one_line() -> None:
    with pytest.raises(LoadTestError, match="could not be read"):
        memory_figures(samples({5.0: {"a": 1}}), 0.0, 10.0)
