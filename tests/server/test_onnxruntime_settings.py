"""The settings of NVIDIA's ONNX Runtime backend, read from the same config.pbtxt."""

from pathlib import Path
from typing import Any

import pytest
from google.protobuf import text_format
from tritonclient.grpc.model_config_pb2 import ModelConfig

from shrota_contract import TensorSpec
from shrota_onnxruntime.settings import CUDA_PARAMETERS, read_settings
from shrota_settings import SettingsError, available_processors, default_threads
from shrota_testing.repository import ROOT

FOLDER = Path("/repository/acoustic_onnx/1")


def config(parameters: dict[str, str] | None = None, **more: Any) -> dict[str, Any]:
    return {
        "max_batch_size": 64,
        "input": [{"name": "AUDIO", "data_type": "TYPE_FP32", "dims": ["-1"]}],
        "output": [{"name": "LOG_PROBS", "data_type": "TYPE_FP32", "dims": [-1, 68]}],
        "parameters": {key: {"string_value": value} for key, value in (parameters or {}).items()},
        **more,
    }


def test_defaults() -> None:
    settings = read_settings(config(), FOLDER, "CPU", 0)
    assert settings.model_path == FOLDER / "model.onnx"
    assert settings.contract.inputs == {"AUDIO": TensorSpec("TYPE_FP32", (-1,))}
    assert settings.contract.outputs == {"LOG_PROBS": TensorSpec("TYPE_FP32", (-1, 68))}
    assert settings.intra_op_threads == available_processors()
    assert settings.device_id is None
    assert (settings.memory_arena, settings.memory_pattern) == (True, False)
    assert settings.graph_level == "ORT_ENABLE_ALL"
    assert settings.session_entries == {"session.intra_op.allow_spinning": "1", "session.force_spinning_stop": "1"}


def test_what_is_given_counts() -> None:
    settings = read_settings(
        config(
            {
                "intra_op_thread_count": "3",
                "inter_op_thread_count": "2",
                "execution_mode": "1",
                "enable_mem_arena": "0",
                "enable_mem_pattern": "1",
                "memory.enable_memory_arena_shrinkage": "cpu:0",
                "session.intra_op.allow_spinning": "0",
                "session.set_denormal_as_zero": "1",
                "colour": "blue",
            },
            default_model_filename="other.onnx",
            optimization={"graph": {"level": 1}},
        ),
        FOLDER,
        "CPU",
        0,
    )
    assert settings.model_path == FOLDER / "other.onnx"
    assert (settings.intra_op_threads, settings.inter_op_threads, settings.parallel_execution) == (3, 2, True)
    assert (settings.memory_arena, settings.memory_pattern) == (False, True)
    assert settings.arena_shrinkage == "cpu:0"
    assert settings.session_entries == {
        "session.intra_op.allow_spinning": "0",
        "session.force_spinning_stop": "1",
        "session.set_denormal_as_zero": "1",
    }
    assert settings.graph_level == "ORT_ENABLE_EXTENDED"
    assert settings.unknown_parameters == ("colour",)


def test_on_a_gpu_float32_means_float32_and_the_accelerator_s_parameters_count() -> None:
    accelerator = {"name": "cuda", "parameters": {"cudnn_conv_algo_search": "DEFAULT", "gpu_mem_limit": "1000"}}
    optimization = {"execution_accelerators": {"gpu_execution_accelerator": [accelerator]}}
    settings = read_settings(config(optimization=optimization), FOLDER, "GPU", 2)
    assert settings.device_id == 2
    assert settings.cuda_options["use_tf32"] == "0"
    assert settings.cuda_options["cudnn_conv_algo_search"] == "DEFAULT"
    assert settings.cuda_options["gpu_mem_limit"] == "1000"
    assert read_settings(config(optimization=optimization), FOLDER, "CPU", 0).cuda_options == {}


def test_on_a_gpu_the_model_s_numbers_count_more_than_the_accelerator_s_names_as_in_nvidia_s_backend() -> None:
    accelerator = {"name": "cuda", "parameters": {"cudnn_conv_algo_search": "EXHAUSTIVE"}}
    optimization = {"execution_accelerators": {"gpu_execution_accelerator": [accelerator]}}
    numbers = {"cudnn_conv_algo_search": "2", "arena_extend_strategy": "0"}
    settings = read_settings(config(numbers, optimization=optimization), FOLDER, "GPU", 0)
    assert settings.cuda_options["cudnn_conv_algo_search"] == "DEFAULT"
    assert settings.cuda_options["arena_extend_strategy"] == "kNextPowerOfTwo"
    assert settings.unknown_parameters == ()
    assert read_settings(config(numbers), FOLDER, "CPU", 0).cuda_options == {}


def test_the_repository_s_engine_gives_both_of_nvidia_s_backend_s_places_the_same_values() -> None:
    # its backend overwrites what the accelerator says as soon as the model has any parameter
    text = (ROOT / "model_repository" / "acoustic_onnx" / "config.pbtxt").read_text(encoding="utf-8")
    message = text_format.Parse(text, ModelConfig())
    (accelerator,) = message.optimization.execution_accelerators.gpu_execution_accelerator
    parameters = {name: parameter.string_value for name, parameter in message.parameters.items()}
    settings = read_settings(config(parameters), FOLDER, "GPU", 0)
    assert settings.unknown_parameters == ()
    assert parameters.keys() >= CUDA_PARAMETERS.keys()
    for name in CUDA_PARAMETERS:
        assert settings.cuda_options[name] == accelerator.parameters[name]
    assert settings.cuda_options["cudnn_conv_algo_search"] == "HEURISTIC"
    assert settings.cuda_options["arena_extend_strategy"] == "kSameAsRequested"
    # without it there is no algorithm for the positional convolution in float16
    assert (
        accelerator.parameters["cudnn_conv1d_pad_to_nc1d"] == settings.cuda_options["cudnn_conv1d_pad_to_nc1d"] == "1"
    )


@pytest.mark.parametrize(
    ("given", "text"),
    [
        (config({"intra_op_thread_count": "many"}), "intra_op_thread_count is 'many': it must be a count"),
        (config({"intra_op_thread_count": "-1"}), "intra_op_thread_count is '-1'"),
        (config({"enable_mem_arena": "yes"}), "enable_mem_arena is 'yes': it must be 0 or 1"),
        (config({"cudnn_conv_algo_search": "3"}), r"algo_search is '3': .* 0 \(EXHAUSTIVE\), 1 \(HEURISTIC\), 2"),
        (config({"arena_extend_strategy": "kSameAsRequested"}), "arena_extend_strategy is 'kSameAsRequested': it must"),
        (config(optimization={"graph": {"level": 7}}), r"graph level 7: it must be one of \[-1, 0, 1, 2\]"),
    ],
)
def test_a_bad_value_is_named(given: dict[str, Any], text: str) -> None:
    with pytest.raises(SettingsError, match=text):
        read_settings(given, FOLDER, "CPU", 0)


def test_instances_share_the_processors() -> None:
    processors = available_processors()
    assert default_threads(1) == processors
    assert default_threads(2) == max(1, processors // 2)
    assert default_threads(10_000) == 1


@pytest.mark.parametrize(
    ("limit", "most"), [("150000 100000", 2), ("max 100000", 10_000), ("50000 100000", 1), ("", 10_000)]
)
def test_a_container_s_share_of_the_processors_counts(tmp_path: Path, limit: str, most: int) -> None:
    file = tmp_path / "cpu.max"
    file.write_text(limit, encoding="ascii")
    assert available_processors(file) == min(available_processors(tmp_path / "none"), most)
