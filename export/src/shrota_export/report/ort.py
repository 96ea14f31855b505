"""ONNX Runtime sessions as the report needs them."""

from pathlib import Path
from typing import Any

import onnxruntime

ALL = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_ALL


def open_session(
    path: Path, *, level: Any = ALL, threads: int = 0, optimized: Path | None = None, profile: Path | None = None
) -> Any:
    """A graph on the processor.

    Args:
        path: the graph.
        level: of ONNX Runtime's own optimisations.
        threads: of one run; 0 is one for each core.
        optimized: where to write what ONNX Runtime makes of the graph.
        profile: beginning of the name of the file that its profiler writes.
    """
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3  # warnings of the optimizer are not for the user
    options.intra_op_num_threads = threads
    options.graph_optimization_level = level
    # between runs the processors are another variant's
    options.add_session_config_entry("session.force_spinning_stop", "1")
    if optimized is not None:
        options.optimized_model_filepath = str(optimized)
        options.add_session_config_entry(
            "session.optimized_model_external_initializers_file_name", f"{optimized.name}.data"
        )
        options.add_session_config_entry("session.optimized_model_external_initializers_min_size_in_bytes", "1024")
    if profile is not None:
        options.enable_profiling = True
        options.profile_file_prefix = str(profile)
    return onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
