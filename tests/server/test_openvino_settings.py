"""The parameters of NVIDIA's OpenVINO backend, and OpenVINO's own, read from config.pbtxt."""

from pathlib import Path
from typing import Any

import pytest
from google.protobuf import text_format
from tritonclient.grpc.model_config_pb2 import ModelConfig

from shrota_contract import TensorSpec
from shrota_openvino.settings import read_settings
from shrota_settings import SettingsError, available_processors
from shrota_testing.repository import ROOT

FOLDER = Path("/repository/acoustic_openvino/1")


def config(parameters: dict[str, str] | None = None, **more: Any) -> dict[str, Any]:
    return {
        "max_batch_size": 64,
        "input": [{"name": "AUDIO", "data_type": "TYPE_FP32", "dims": ["-1"]}],
        "output": [{"name": "LOG_PROBS", "data_type": "TYPE_FP32", "dims": [-1, 68]}],
        "parameters": {key: {"string_value": value} for key, value in (parameters or {}).items()},
        **more,
    }


def test_defaults_leave_the_precision_to_the_model_s_file() -> None:
    settings = read_settings(config(), FOLDER)
    assert settings.model_path == FOLDER / "model.xml"
    assert settings.contract.inputs == {"AUDIO": TensorSpec("TYPE_FP32", (-1,))}
    assert settings.contract.outputs == {"LOG_PROBS": TensorSpec("TYPE_FP32", (-1, 68))}
    assert settings.contract.max_batch_size == 64
    assert settings.threads == available_processors()
    assert settings.properties == {
        "PERFORMANCE_HINT": "LATENCY",
        "NUM_STREAMS": "1",
        "INFERENCE_NUM_THREADS": str(available_processors()),
        "CPU_RUNTIME_CACHE_CAPACITY": "100",
    }
    assert settings.unknown_parameters == ()


def test_the_repository_s_configuration_says_what_the_defaults_are() -> None:
    text = (ROOT / "model_repository" / "acoustic_openvino" / "config.pbtxt").read_text(encoding="utf-8")
    message = text_format.Parse(text, ModelConfig())
    parameters = {name: parameter.string_value for name, parameter in message.parameters.items()}
    assert message.backend == "openvino"
    assert read_settings(config(parameters), FOLDER) == read_settings(config(), FOLDER)


def test_what_is_given_counts() -> None:
    given = {
        "PERFORMANCE_HINT": "throughput",
        "NUM_STREAMS": "auto",
        "INFERENCE_NUM_THREADS": "3",
        "COMPILATION_NUM_THREADS": "2",
        "INFERENCE_PRECISION_HINT": "f32",
        "DYNAMIC_QUANTIZATION_GROUP_SIZE": "128",
        "TARGET_DEVICE": "CPU",
        "CPU_RUNTIME_CACHE_CAPACITY": "0",
        "COLOUR": "blue",
    }
    settings = read_settings(config(given, default_model_filename="other.xml"), FOLDER)
    assert settings.model_path == FOLDER / "other.xml"
    assert settings.threads == 3
    assert settings.properties == {
        "PERFORMANCE_HINT": "THROUGHPUT",
        "NUM_STREAMS": "AUTO",
        "INFERENCE_NUM_THREADS": "3",
        "COMPILATION_NUM_THREADS": "2",
        "INFERENCE_PRECISION_HINT": "f32",
        "DYNAMIC_QUANTIZATION_GROUP_SIZE": "128",
        "CPU_RUNTIME_CACHE_CAPACITY": "0",
    }
    assert settings.unknown_parameters == ("COLOUR",)


@pytest.mark.parametrize("also", [{}, {"INFERENCE_PRECISION_HINT": "bf16"}])
def test_nvidia_s_name_for_bfloat16(also: dict[str, str]) -> None:
    settings = read_settings(config({"HINT_BF16": "YES", **also}), FOLDER)
    assert settings.properties["INFERENCE_PRECISION_HINT"] == "bf16"


def test_instances_share_the_processors() -> None:
    settings = read_settings(config(instance_group=[{"count": 1000}]), FOLDER)
    assert settings.threads == 1


@pytest.mark.parametrize(
    ("name", "value", "text"),
    [
        ("INFERENCE_NUM_THREADS", "many", "is 'many': it must be a count of threads"),
        ("INFERENCE_NUM_THREADS", "-1", "is '-1': it must be a count of threads"),
        ("COMPILATION_NUM_THREADS", "all", "is 'all': it must be a count of threads"),
        ("PERFORMANCE_HINT", "SPEED", "is 'SPEED': it must be LATENCY or THROUGHPUT or CUMULATIVE_THROUGHPUT"),
        ("NUM_STREAMS", "0", "is '0': it must be a count from 1 on, AUTO or NUMA"),
        ("NUM_STREAMS", "two", "is 'two': it must be a count from 1 on, AUTO or NUMA"),
        ("INFERENCE_PRECISION_HINT", "int8", "is 'int8': it must be f32 or bf16 or f16"),
        ("HINT_BF16", "NO", "is 'NO': it must be YES"),
        ("DYNAMIC_QUANTIZATION_GROUP_SIZE", "row", "is 'row': it must be a whole number, 0 for none"),
        ("CPU_RUNTIME_CACHE_CAPACITY", "-1", "is '-1': it must be a whole number, 0 for none"),
        ("TARGET_DEVICE", "GPU", "is 'GPU': this backend runs on processors, CPU"),
    ],
)
def test_a_bad_value_is_named(name: str, value: str, text: str) -> None:
    with pytest.raises(SettingsError, match=f"^parameter {name} {text}"):
        read_settings(config({name: value}), FOLDER)


def test_two_precisions_are_one_too_many() -> None:
    with pytest.raises(SettingsError, match="is 'f32', and HINT_BF16 says bf16: give one"):
        read_settings(config({"HINT_BF16": "YES", "INFERENCE_PRECISION_HINT": "f32"}), FOLDER)
