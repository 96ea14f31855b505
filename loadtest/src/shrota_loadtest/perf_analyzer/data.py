"""Speech as perf_analyzer's ``--input-data``.

How it walks through the entries, N of them, with rows of R in a request: worker w of W begins with entry w * R and goes
on by W * R, round and round (``InferContext::UpdateJsonData``). Where N and W * R have a common divisor, a worker never
leaves its own share of the entries, and a worker with long ones goes round less often than one with short ones: long
utterances are then sent too rarely. So N is made coprime to W * R: each worker sends all of them, equally often.
"""

import base64
import json
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from shrota_client.writing import writing
from shrota_loadtest.errors import WorkloadError

Samples = NDArray[np.float32]
ENGINES = ("acoustic_onnx", "acoustic_trt", "acoustic_torch", "acoustic_openvino")
"""They want the number of samples beside the audio."""
ROWS_IN_SHAPE = ("acoustic_trt",)
"""Triton makes no batches for them: rows are the first dimension of the data itself."""
OUTPUT_BYTES_PER_SECOND = 2**18
"""Of shared memory for an output: 50 frames of 1310 tokens for each second of audio, and more than its text."""


def entries_for(clips: Sequence[Samples], workers: int, rows: int = 1) -> list[Samples]:
    """As many of the clips as all workers go through (see the module), the first ones."""
    count = next(count for count in range(len(clips), 0, -1) if math.gcd(count, workers * rows) == 1)
    return list(clips[:count])


def write_input(path: Path, clips: Sequence[Samples], model: str, rows: int = 1) -> None:
    """Writes an entry for each clip.

    Args:
        path: of the file.
        clips: [T] each, of any lengths; of one length where rows are more than one.
        model: decides which inputs there are.
        rows: in a request.

    Raises:
        WorkloadError: rows of different lengths, or no clip.
        OutputError: the file cannot be written.
    """
    if not clips or (rows > 1 and len({clip.size for clip in clips}) > 1):
        raise WorkloadError("rows of one request have one length: give clips, and cut them to equal lengths")
    inside = rows if model in ROWS_IN_SHAPE else 1
    entries = [
        _entry(np.stack([clips[(start + row) % len(clips)] for row in range(inside)]), model)
        for start in range(len(clips))
    ]
    with writing(path):
        path.write_text(json.dumps({"data": entries}), encoding="utf-8")


def _entry(audio: Samples, model: str) -> dict[str, Any]:
    """One entry from rows [B, T]; the batch dimension only where it is in the model's own shape."""
    has_rows = model in ROWS_IN_SHAPE
    entry = {"AUDIO": _tensor(audio if has_rows else audio[0])}
    if model in ENGINES:
        counts = np.full((len(audio), 1), audio.shape[1], np.int32)
        entry["NUM_SAMPLES"] = _tensor(counts if has_rows else counts[0])
    return entry


def _tensor(array: NDArray[Any]) -> dict[str, Any]:
    little = array.astype(array.dtype.newbyteorder("<"))
    return {"content": {"b64": base64.b64encode(little.tobytes()).decode()}, "shape": list(array.shape)}


def output_bytes(clips: Sequence[Samples], sample_rate: int, rows: int = 1) -> int:
    """Shared memory that an output needs; perf_analyzer multiplies it by rows that are not in the shape."""
    longest = max(clip.size for clip in clips) / sample_rate
    return rows * math.ceil(max(longest, 1.0)) * OUTPUT_BYTES_PER_SECOND
