"""What the backend reads from a model's ``config.pbtxt``, under the names that NVIDIA's ONNX Runtime backend uses.

https://github.com/triton-inference-server/onnxruntime_backend#model-config-options
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from shrota_contract import Contract, read_contract
from shrota_settings import SettingsError, count_instances, default_threads, read_count, read_parameters

DEFAULT_MODEL_FILENAME = "model.onnx"
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


@dataclass(frozen=True)
class Settings:
    """How a session is opened and run."""

    model_path: Path
    contract: Contract
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
    parameters = read_parameters(config)
    optimization = config.get("optimization", {})
    level = int(optimization.get("graph", {}).get("level", 0))
    if level not in GRAPH_LEVELS:
        raise SettingsError(f"optimization graph level {level}: it must be one of {sorted(GRAPH_LEVELS)}")
    on_gpu = kind == "GPU"
    numbered = _numbered_cuda_options(parameters)
    return Settings(
        model_path=version_folder / (config.get("default_model_filename") or DEFAULT_MODEL_FILENAME),
        contract=read_contract(config),
        intra_op_threads=read_count(parameters, "intra_op_thread_count") or default_threads(count_instances(config)),
        inter_op_threads=read_count(parameters, "inter_op_thread_count") or 1,
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


def _flag(parameters: Mapping[str, str], name: str, *, default: bool) -> bool:
    text = parameters.get(name, "1" if default else "0")
    if text not in {"0", "1"}:
        raise SettingsError(f"parameter {name} is {text!r}: it must be 0 or 1")
    return text == "1"
