"""What the backend reads from a model's ``config.pbtxt``, under the names that NVIDIA's ONNX Runtime backend uses.

https://github.com/triton-inference-server/onnxruntime_backend#model-config-options
"""

import math
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

DEFAULT_MODEL_FILENAME = "model.onnx"
CGROUP_CPU_LIMIT = Path("/sys/fs/cgroup/cpu.max")
# `optimization { graph { level } }` of NVIDIA's backend -> names in onnxruntime.GraphOptimizationLevel
GRAPH_LEVELS = {-1: "ORT_ENABLE_BASIC", 0: "ORT_ENABLE_ALL", 1: "ORT_ENABLE_EXTENDED", 2: "ORT_DISABLE_ALL"}
KNOWN_PARAMETERS = {
    "intra_op_thread_count",
    "inter_op_thread_count",
    "execution_mode",
    "enable_mem_arena",
    "enable_mem_pattern",
    "memory.enable_memory_arena_shrinkage",
    "cudnn_conv_algo_search",
    "arena_extend_strategy",
}
SESSION_PREFIX = "session."
# Threads spin within a run: else its operators would wake them, hundreds of times. As soon as the run is over they
# stop, since the processors are then needed by tritonserver, the other models and the clients.
SESSION_DEFAULTS = {"session.intra_op.allow_spinning": "1", "session.force_spinning_stop": "1"}
# tf32 off: float32 means float32. Convolutions: EXHAUSTIVE asks cuDNN for longer at every new length, DEFAULT takes its
# fallback, which is slow; HEURISTIC finds an algorithm for the positional convolution in float16 only if its one axis
# is the last of two. The arena grows by what is needed, not to the next power of two.
CUDA_DEFAULTS = {
    "use_tf32": "0",
    "cudnn_conv_algo_search": "HEURISTIC",
    "cudnn_conv1d_pad_to_nc1d": "1",
    "arena_extend_strategy": "kSameAsRequested",
    "do_copy_in_default_stream": "1",
}
# NVIDIA's backend reads these also as parameters of the model, by number, and then they count more than the
# accelerator's (ModelState::LoadModel of its onnxruntime.cc).
CUDA_PARAMETERS = {
    "cudnn_conv_algo_search": ("EXHAUSTIVE", "HEURISTIC", "DEFAULT"),
    "arena_extend_strategy": ("kNextPowerOfTwo", "kSameAsRequested"),
}


class SettingsError(ValueError):
    """A setting in ``config.pbtxt`` that cannot be used; names it."""


@dataclass(frozen=True)
class Settings:
    """How a session is opened and run."""

    model_path: Path
    max_batch_size: int
    inputs: Mapping[str, "TensorSpec"]
    outputs: Mapping[str, "TensorSpec"]
    intra_op_threads: int
    inter_op_threads: int = 1
    parallel_execution: bool = False
    graph_level: str = "ORT_ENABLE_ALL"
    memory_arena: bool = True
    memory_pattern: bool = False
    arena_shrinkage: str = ""
    """Devices whose arena is shrunk after a run, e.g. "cpu:0"; empty for none."""
    session_entries: Mapping[str, str] = field(default_factory=dict)
    device_id: int | None = None
    """The GPU to run on; None for the CPU."""
    cuda_options: Mapping[str, str] = field(default_factory=dict)
    unknown_parameters: tuple[str, ...] = ()


@dataclass(frozen=True)
class TensorSpec:
    """A tensor as ``config.pbtxt`` declares it; ``dims`` are without the batch dimension, -1 for any size."""

    data_type: str
    dims: tuple[int, ...]


def read_settings(config: Mapping[str, Any], version_folder: Path, kind: str, device_id: int) -> Settings:
    """The settings of one instance.

    Args:
        config: the model's configuration, as Triton's JSON.
        version_folder: the folder that holds the model file.
        kind: "CPU" or "GPU", the kind of the instance.
        device_id: the GPU of a "GPU" instance.

    Raises:
        SettingsError: a value cannot be used.
    """
    parameters = {key: str(value.get("string_value", "")) for key, value in config.get("parameters", {}).items()}
    optimization = config.get("optimization", {})
    level = int(optimization.get("graph", {}).get("level", 0))
    if level not in GRAPH_LEVELS:
        raise SettingsError(f"optimization graph level {level}: it must be one of {sorted(GRAPH_LEVELS)}")
    on_gpu = kind == "GPU"
    numbered = _numbered_cuda_options(parameters)
    return Settings(
        model_path=version_folder / (config.get("default_model_filename") or DEFAULT_MODEL_FILENAME),
        max_batch_size=int(config.get("max_batch_size", 0)),
        inputs=_tensors(config.get("input", [])),
        outputs=_tensors(config.get("output", [])),
        intra_op_threads=_count(parameters, "intra_op_thread_count") or default_threads(_instances(config)),
        inter_op_threads=_count(parameters, "inter_op_thread_count") or 1,
        parallel_execution=_flag(parameters, "execution_mode", default=False),
        graph_level=GRAPH_LEVELS[level],
        # Speech gives a new shape with almost every batch, and a pattern is kept for each: memory would grow with the
        # shapes seen. Without the arena every run would ask the system for all of its memory anew.
        memory_arena=_flag(parameters, "enable_mem_arena", default=True),
        memory_pattern=_flag(parameters, "enable_mem_pattern", default=False),
        arena_shrinkage=parameters.get("memory.enable_memory_arena_shrinkage", ""),
        session_entries={
            **SESSION_DEFAULTS,
            **{key: value for key, value in parameters.items() if key.startswith(SESSION_PREFIX)},
        },
        device_id=device_id if on_gpu else None,
        cuda_options={**CUDA_DEFAULTS, **_accelerator(optimization, "cuda"), **numbered} if on_gpu else {},
        unknown_parameters=tuple(
            sorted(key for key in parameters if key not in KNOWN_PARAMETERS and not key.startswith(SESSION_PREFIX))
        ),
    )


def default_threads(instances: int) -> int:
    """Threads of one of ``instances`` sessions: its share of the processors that this process may use."""
    return max(1, available_processors() // max(1, instances))


def available_processors(cgroup_limit: Path = CGROUP_CPU_LIMIT) -> int:
    """Processors that this process may run on, or a container's share of them if that is less; at least 1."""
    processors = len(os.sched_getaffinity(0))
    try:
        quota, period = cgroup_limit.read_text(encoding="ascii").split()
        share = math.ceil(int(quota) / int(period))
    except (OSError, ValueError):  # no cgroup version 2, or "max": no limit
        return processors
    return max(1, min(processors, share))


def _tensors(entries: list[Mapping[str, Any]]) -> dict[str, TensorSpec]:
    return {
        entry["name"]: TensorSpec(str(entry["data_type"]), tuple(int(size) for size in entry["dims"]))
        for entry in entries
    }


def _instances(config: Mapping[str, Any]) -> int:
    return sum(max(1, int(group.get("count", 1))) for group in config.get("instance_group", [])) or 1


def _accelerator(optimization: Mapping[str, Any], name: str) -> dict[str, str]:
    accelerators = optimization.get("execution_accelerators", {}).get("gpu_execution_accelerator", [])
    for accelerator in accelerators:
        if accelerator.get("name") == name:
            return {key: str(value) for key, value in accelerator.get("parameters", {}).items()}
    return {}


def _numbered_cuda_options(parameters: Mapping[str, str]) -> dict[str, str]:
    options = {}
    for name, values in CUDA_PARAMETERS.items():
        if name not in parameters:
            continue
        numbers = {str(number): value for number, value in enumerate(values)}
        if parameters[name] not in numbers:
            meanings = ", ".join(f"{number} ({value})" for number, value in numbers.items())
            raise SettingsError(f"parameter {name} is {parameters[name]!r}: it must be one of {meanings}")
        options[name] = numbers[parameters[name]]
    return options


def _count(parameters: Mapping[str, str], name: str) -> int:
    text = parameters.get(name, "0")
    if not text.isascii() or not text.isdigit():
        raise SettingsError(f"parameter {name} is {text!r}: it must be a count of threads, 0 for the default")
    return int(text)


def _flag(parameters: Mapping[str, str], name: str, *, default: bool) -> bool:
    text = parameters.get(name, "1" if default else "0")
    if text not in {"0", "1"}:
        raise SettingsError(f"parameter {name} is {text!r}: it must be 0 or 1")
    return text == "1"
