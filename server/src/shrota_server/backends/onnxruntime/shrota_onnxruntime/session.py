"""Opens an ONNX Runtime session, and refuses a file that is missing, broken or not what ``config.pbtxt`` declares."""

from typing import Any

import onnxruntime as ort

from shrota_contract import EngineFileError, find_misfits
from shrota_settings import shortened

from .settings import Settings

# Triton's data types -> the types of onnxruntime's session inputs and outputs
TYPES = {
    "TYPE_BOOL": "tensor(bool)",
    "TYPE_UINT8": "tensor(uint8)",
    "TYPE_INT8": "tensor(int8)",
    "TYPE_INT16": "tensor(int16)",
    "TYPE_INT32": "tensor(int32)",
    "TYPE_INT64": "tensor(int64)",
    "TYPE_FP16": "tensor(float16)",
    "TYPE_FP32": "tensor(float)",
    "TYPE_FP64": "tensor(double)",
    "TYPE_STRING": "tensor(string)",
}
REMEDY = "run `shrota export onnx CHECKPOINT`"


def open_session(settings: Settings) -> ort.InferenceSession:
    """A session of the model file, on the GPU if the settings ask for one.

    Raises:
        EngineFileError: the file is missing, is not a whole ONNX graph, or does not fit ``config.pbtxt``.
    """
    path = settings.model_path
    if not path.is_file():
        raise EngineFileError(f"no engine at {path}: {REMEDY}")
    options = session_options(settings)
    try:
        session = ort.InferenceSession(str(path), options, providers=providers(settings))
    except Exception as error:  # onnxruntime's errors share no base class but Exception
        reason = one_line(error)
        raise EngineFileError(f"{path} cannot be read as an ONNX graph ({reason}): {REMEDY} again") from error
    misfits = find_misfits(settings.contract, session.get_inputs(), session.get_outputs(), TYPES)
    if misfits:
        raise EngineFileError(f"{path} does not fit config.pbtxt ({'; '.join(misfits)}): {REMEDY} again")
    return session


def session_options(settings: Settings) -> ort.SessionOptions:
    """The settings in onnxruntime's terms."""
    options = ort.SessionOptions()
    options.log_severity_level = 3  # errors; they reach the caller anyway
    options.intra_op_num_threads = settings.intra_op_threads
    options.inter_op_num_threads = settings.inter_op_threads
    mode = ort.ExecutionMode
    options.execution_mode = mode.ORT_PARALLEL if settings.parallel_execution else mode.ORT_SEQUENTIAL
    options.graph_optimization_level = getattr(ort.GraphOptimizationLevel, settings.graph_level)
    options.enable_cpu_mem_arena = settings.memory_arena
    options.enable_mem_pattern = settings.memory_pattern
    for key, value in settings.session_entries.items():
        options.add_session_config_entry(key, value)
    return options


def run_options(settings: Settings) -> ort.RunOptions | None:
    """What every run is given; None for nothing."""
    if not settings.arena_shrinkage:
        return None
    options = ort.RunOptions()
    options.add_run_config_entry("memory.enable_memory_arena_shrinkage", settings.arena_shrinkage)
    return options


def providers(settings: Settings) -> list[Any]:
    """The execution providers for onnxruntime, the preferred one first."""
    if settings.device_id is None or not cuda_is_available():
        return ["CPUExecutionProvider"]
    cuda = {"device_id": str(settings.device_id), **settings.cuda_options}
    return [("CUDAExecutionProvider", cuda), "CPUExecutionProvider"]


def cuda_is_available() -> bool:
    """Whether this onnxruntime can run on a GPU; loads the CUDA libraries that came with Python packages."""
    if "CUDAExecutionProvider" not in ort.get_available_providers():
        return False
    if hasattr(ort, "preload_dlls"):
        ort.preload_dlls()
    return True


def one_line(error: BaseException) -> str:
    """An error's text in one line, without onnxruntime's prefix, cut to a readable length."""
    text = " ".join(str(error).split())
    prefix, separator, rest = text.partition(" : ")
    if separator and prefix.startswith("[ONNXRuntimeError]"):
        text = rest.split(" : ", 2)[-1]
    return shortened(text)
