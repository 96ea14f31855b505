"""Runs what was exported: raw audio in padded batches to log-probabilities."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
from numpy.typing import NDArray

Floats = NDArray[np.float32]
Ints = NDArray[np.int32]
Engine = Callable[[Floats, Ints], tuple[Floats, Ints]]
"""AUDIO [B, T], NUM_SAMPLES [B, 1] -> LOG_PROBS [B, F, V], NUM_FRAMES [B, 1]"""

NO_AUDIO = np.zeros(0, np.float32)
LEVELS = onnxruntime.GraphOptimizationLevel
ALL, NONE = LEVELS.ORT_ENABLE_ALL, LEVELS.ORT_DISABLE_ALL
"""Levels of what ONNX Runtime fuses and rewrites itself."""
_sharing: list[bool] = []
"""Not empty within :func:`shared_arena`."""


@contextmanager
def shared_arena() -> Iterator[None]:
    """Sessions that are opened meanwhile take the memory of their runs from one arena, which lives on.

    For many sessions that run one after the other: otherwise each keeps what its largest run needed.
    """
    _register_arena()
    _sharing.append(True)
    try:
        yield
    finally:
        _sharing.pop()


@cache
def _register_arena() -> None:
    arena = onnxruntime.OrtAllocatorType.ORT_ARENA_ALLOCATOR
    place = onnxruntime.OrtMemoryInfo("Cpu", arena, 0, onnxruntime.OrtMemType.DEFAULT)
    as_requested = onnxruntime.OrtArenaCfg({"arena_extend_strategy": 1})
    onnxruntime.create_and_register_allocator(place, as_requested)


def open_engine(graph: Path | bytes, *, threads: int = 0, fuse: bool = True, spin: bool = True) -> Engine:
    """An exported graph in ONNX Runtime, on the processor.

    A graph with float16 or bfloat16 in it says nothing there about half precision, see
    :mod:`shrota_export.precision.emulation`.

    Args:
        graph: the file, or its bytes.
        threads: of one run; 0 is one for each core.
        fuse: whether ONNX Runtime may fuse and rewrite nodes.
        spin: whether threads wait busily; not where processor time is measured.
    """
    return engine_of(open_session(graph, level=ALL if fuse else NONE, threads=threads, spin=spin))


def open_session(
    graph: Path | bytes,
    *,
    level: Any = ALL,
    threads: int = 0,
    spin: bool = True,
    optimized: Path | None = None,
    profile: Path | None = None,
) -> Any:
    """A graph in ONNX Runtime, on the processor.

    Args:
        graph: the file, or its bytes.
        level: of ONNX Runtime's own optimisations.
        threads: of one run; 0 is one for each core.
        spin: whether threads wait busily; not where processor time is measured.
        optimized: where to write what ONNX Runtime makes of the graph.
        profile: beginning of the name of the file that its profiler writes.
    """
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3  # warnings of the optimizer are not for the user
    options.intra_op_num_threads = threads
    options.graph_optimization_level = level
    # between runs the processors are PyTorch's, or another engine's
    options.add_session_config_entry("session.force_spinning_stop", "1")
    if _sharing:
        options.add_session_config_entry("session.use_env_allocators", "1")
        # weights are not in the arena, so that they go with their session
        options.add_session_config_entry("session.use_device_allocator_for_initializers", "1")
    if not spin:
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    if optimized is not None:
        options.optimized_model_filepath = str(optimized)
        weights = "session.optimized_model_external_initializers"
        options.add_session_config_entry(f"{weights}_file_name", f"{optimized.name}.data")
        options.add_session_config_entry(f"{weights}_min_size_in_bytes", "1024")
    if profile is not None:
        options.enable_profiling = True
        options.profile_file_prefix = str(profile)
    return onnxruntime.InferenceSession(graph, options, providers=["CPUExecutionProvider"])


def engine_of(session: Any) -> Engine:
    """An engine that runs a session of an exported graph."""

    def run(audio: Floats, num_samples: Ints) -> tuple[Floats, Ints]:
        log_probs, num_frames = session.run(
            ["LOG_PROBS", "NUM_FRAMES"], {"AUDIO": audio, "NUM_SAMPLES": num_samples.astype(np.int32)}
        )
        return log_probs, num_frames

    return run


def make_batch(rows: Sequence[Floats], behind: Floats = NO_AUDIO, width: int = 0) -> tuple[Floats, Ints]:
    """AUDIO [B, T] and NUM_SAMPLES [B, 1] of rows [samples] each, zero-padded on the right.

    Args:
        rows: the utterances.
        behind: samples that are put behind the end of each row, where they must not matter.
        width: least T.
    """
    length = max(width, max(row.size for row in rows) + behind.size)
    audio = np.zeros((len(rows), length), np.float32)
    for line, row in zip(audio, rows, strict=True):
        line[: row.size] = row
        line[row.size : row.size + behind.size] = behind
    return audio, np.array([[row.size] for row in rows], np.int32)


def run_rows(engine: Engine, rows: Sequence[Floats], behind: Floats = NO_AUDIO, width: int = 0) -> list[Floats]:
    """One engine batch, see :func:`make_batch`: log-probabilities [F, V] of each row's own frames."""
    log_probs, num_frames = engine(*make_batch(rows, behind, width))
    return [line[:count] for line, count in zip(log_probs, num_frames[:, 0], strict=True)]
