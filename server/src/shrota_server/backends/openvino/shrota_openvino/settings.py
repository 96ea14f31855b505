"""What the backend reads from a model's ``config.pbtxt``.

Names are those of NVIDIA's OpenVINO backend (https://github.com/triton-inference-server/openvino_backend#parameters),
where that has one; ``INFERENCE_PRECISION_HINT``, ``DYNAMIC_QUANTIZATION_GROUP_SIZE`` and ``CPU_RUNTIME_CACHE_CAPACITY``
are OpenVINO's own.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from shrota_contract import Contract, read_contract
from shrota_settings import SettingsError, count_instances, default_threads, read_count, read_parameters

DEFAULT_MODEL_FILENAME = "model.xml"
PERFORMANCE_HINTS = ("LATENCY", "THROUGHPUT", "CUMULATIVE_THROUGHPUT")
PRECISIONS = ("f32", "bf16", "f16")
THREADS, STREAMS, PERFORMANCE = "INFERENCE_NUM_THREADS", "NUM_STREAMS", "PERFORMANCE_HINT"
PRECISION, PRECISION_OF_NVIDIA, GROUP_SIZE = "INFERENCE_PRECISION_HINT", "HINT_BF16", "DYNAMIC_QUANTIZATION_GROUP_SIZE"
COMPILATION_THREADS, DEVICE, CACHE = "COMPILATION_NUM_THREADS", "TARGET_DEVICE", "CPU_RUNTIME_CACHE_CAPACITY"
# Prepared operators. Of OpenVINO's own 5000 almost every batch of speech, which has a new shape, would leave some,
# and memory would grow. The layers of a run share them, so some there must be.
CACHE_CAPACITY = "100"
KNOWN_PARAMETERS = {
    THREADS,
    STREAMS,
    PERFORMANCE,
    PRECISION,
    PRECISION_OF_NVIDIA,
    GROUP_SIZE,
    COMPILATION_THREADS,
    DEVICE,
    CACHE,
}


@dataclass(frozen=True)
class Settings:
    """How a model is compiled."""

    model_path: Path
    contract: Contract
    threads: int
    """of one run"""
    properties: Mapping[str, str] = field(default_factory=dict)
    """Of OpenVINO, by its names; what the model's file says of itself counts less."""
    unknown_parameters: tuple[str, ...] = ()


def read_settings(config: Mapping[str, Any], version_folder: Path) -> Settings:
    """The settings of one instance.

    Args:
        config: the model's configuration, as Triton's JSON.
        version_folder: the folder that holds the model file.

    Raises:
        SettingsError: a value cannot be used.
    """
    parameters = read_parameters(config)
    if parameters.get(DEVICE, "CPU").upper() != "CPU":
        raise SettingsError(f"parameter {DEVICE} is {parameters[DEVICE]!r}: this backend runs on processors, CPU")
    threads = read_count(parameters, THREADS) or default_threads(count_instances(config))
    properties = {
        PERFORMANCE: _choice(parameters, PERFORMANCE, PERFORMANCE_HINTS, "LATENCY"),
        STREAMS: _streams(parameters),
        THREADS: str(threads),
        CACHE: _number(parameters, CACHE) or CACHE_CAPACITY,
        **_precision(parameters),
    }
    if compilation_threads := read_count(parameters, COMPILATION_THREADS):
        properties[COMPILATION_THREADS] = str(compilation_threads)
    return Settings(
        model_path=version_folder / (config.get("default_model_filename") or DEFAULT_MODEL_FILENAME),
        contract=read_contract(config),
        threads=threads,
        properties=properties,
        unknown_parameters=tuple(sorted(parameters.keys() - KNOWN_PARAMETERS)),
    )


def _precision(parameters: Mapping[str, str]) -> dict[str, str]:
    """Only what is given: else the model's file says it."""
    found = {}
    if parameters.get(PRECISION_OF_NVIDIA, ""):
        _choice(parameters, PRECISION_OF_NVIDIA, ("YES",), "")
        found[PRECISION] = "bf16"
    if parameters.get(PRECISION, ""):
        precision = _choice(parameters, PRECISION, PRECISIONS, "")
        if found.get(PRECISION, precision) != precision:
            raise SettingsError(
                f"parameter {PRECISION} is {precision!r}, and {PRECISION_OF_NVIDIA} says bf16: give one"
            )
        found[PRECISION] = precision
    if size := _number(parameters, GROUP_SIZE):
        found[GROUP_SIZE] = size
    return found


def _number(parameters: Mapping[str, str], name: str) -> str:
    """A whole number as text; empty if it is not given."""
    text = parameters.get(name, "")
    if text and not (text.isascii() and text.isdigit()):
        raise SettingsError(f"parameter {name} is {text!r}: it must be a whole number, 0 for none")
    return text


def _choice(parameters: Mapping[str, str], name: str, values: tuple[str, ...], default: str) -> str:
    text = parameters.get(name, "") or default
    found = next((value for value in values if value.lower() == text.lower()), None)
    if found is None:
        raise SettingsError(f"parameter {name} is {text!r}: it must be {' or '.join(values)}")
    return found


def _streams(parameters: Mapping[str, str]) -> str:
    text = parameters.get(STREAMS, "") or "1"
    if text.upper() not in {"AUTO", "NUMA"} and not (text.isascii() and text.isdigit() and int(text)):
        raise SettingsError(f"parameter {STREAMS} is {text!r}: it must be a count from 1 on, AUTO or NUMA")
    return text.upper()
