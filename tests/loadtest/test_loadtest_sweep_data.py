"""Speech as perf_analyzer's input data: its values, and that every worker comes to every length."""

import base64
import json
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from shrota_client.errors import OutputError
from shrota_loadtest.errors import WorkloadError
from shrota_loadtest.perf_analyzer.data import entries_for, output_bytes, write_input

CLIPS = [np.linspace(-1, 1, size).astype(np.float32) for size in (5, 3, 8)]
EQUAL = [np.full(4, value, np.float32) for value in (0.25, 0.5, -1.0)]


def read(path: Path) -> list[dict[str, Any]]:
    """The entries, with their tensors decoded as perf_analyzer does: little-endian, row-major."""
    kinds = {"AUDIO": "<f4", "NUM_SAMPLES": "<i4"}
    return [
        {
            name: np.frombuffer(base64.b64decode(tensor["content"]["b64"]), kinds[name]).reshape(tensor["shape"])
            for name, tensor in entry.items()
        }
        for entry in json.loads(path.read_text(encoding="utf-8"))["data"]
    ]


def test_each_clip_is_an_entry_with_its_shape(tmp_path: Path) -> None:
    write_input(tmp_path / "input.json", CLIPS, "asr")
    entries = read(tmp_path / "input.json")
    assert [list(entry) for entry in entries] == [["AUDIO"]] * 3
    for entry, clip in zip(entries, CLIPS, strict=True):
        np.testing.assert_array_equal(entry["AUDIO"], clip)


def test_an_engine_is_told_the_number_of_samples(tmp_path: Path) -> None:
    write_input(tmp_path / "input.json", CLIPS, "acoustic_onnx")
    assert [entry["NUM_SAMPLES"].tolist() for entry in read(tmp_path / "input.json")] == [[5], [3], [8]]


def test_rows_are_in_the_shape_where_triton_makes_no_batches(tmp_path: Path) -> None:
    write_input(tmp_path / "input.json", EQUAL, "acoustic_trt", rows=2)
    entries = read(tmp_path / "input.json")
    assert [entry["AUDIO"][:, 0].tolist() for entry in entries] == [[0.25, 0.5], [0.5, -1.0], [-1.0, 0.25]]
    assert [entry["AUDIO"].shape for entry in entries] == [(2, 4)] * 3
    assert [entry["NUM_SAMPLES"].tolist() for entry in entries] == [[[4], [4]]] * 3
    write_input(tmp_path / "input.json", CLIPS, "acoustic_trt")
    assert [entry["AUDIO"].shape for entry in read(tmp_path / "input.json")] == [(1, 5), (1, 3), (1, 8)]


def test_rows_of_a_model_with_batches_are_made_by_perf_analyzer(tmp_path: Path) -> None:
    write_input(tmp_path / "input.json", EQUAL, "asr", rows=2)
    assert [entry["AUDIO"].shape for entry in read(tmp_path / "input.json")] == [(4,)] * 3


@pytest.mark.parametrize(("clips", "rows"), [(CLIPS, 2), ([], 1)])
def test_rows_of_different_lengths_are_refused(tmp_path: Path, clips: list[Any], rows: int) -> None:
    with pytest.raises(WorkloadError, match="rows of one request have one length"):
        write_input(tmp_path / "input.json", clips, "asr", rows)


def test_a_folder_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(OutputError):
        write_input(tmp_path / "none" / "input.json", CLIPS, "asr")


def walk(worker: int, workers: int, rows: int, count: int, requests: int) -> list[int]:
    """First entries of a worker's requests, as ``InferContext::UpdateJsonData`` reckons them."""
    return [(request * rows) % count for request in range(worker, worker + requests * workers, workers)]


@pytest.mark.parametrize("workers", [1, 2, 3, 4, 8, 16, 31, 62, 64])
@pytest.mark.parametrize("rows", [1, 2, 4])
def test_every_worker_goes_round_all_entries(workers: int, rows: int) -> None:
    clips = [np.zeros(4, np.float32)] * 31
    count = len(entries_for(clips, workers, rows))
    assert count >= 29
    for worker in range(workers):
        assert Counter(walk(worker, workers, rows, count, 2 * count)) == dict.fromkeys(range(count), 2)


def test_without_that_a_worker_has_a_share_of_its_own() -> None:
    assert set(walk(1, 4, 1, 8, 100)) == {1, 5}


def test_one_clip_is_enough_for_any_number_of_workers() -> None:
    assert len(entries_for(CLIPS[:1], 6)) == 1
    assert len(entries_for(CLIPS[:2], 6)) == 1


def test_outputs_fit_the_longest() -> None:
    """Log-probabilities of 50 frames a second: 4 bytes for each of at most 1310 tokens."""
    clips = [np.zeros(16000, np.float32), np.zeros(16000 * 20, np.float32)]
    assert 50 * 20 * 1310 * 4 <= output_bytes(clips, 16000) <= 6e6
    assert output_bytes(clips, 16000, rows=3) == 3 * output_bytes(clips, 16000)
