"""Every ``config.pbtxt``: the contract's tensors, bounded queues, warm engines."""

import pytest
from google.protobuf import text_format
from tritonclient.grpc.model_config_pb2 import DataType, ModelConfig, ModelQueuePolicy

from shrota_testing.repository import copy_repository

CONTRACT = {
    "asr": ({"AUDIO": ("TYPE_FP32", [-1])}, {"TRANSCRIPT": ("TYPE_STRING", [1]), "RESULT": ("TYPE_STRING", [1])}),
    "acoustic": (
        {"AUDIO": ("TYPE_FP32", [-1])},
        {"LOG_PROBS": ("TYPE_FP32", [-1, -1]), "DURATION": ("TYPE_FP32", [1])},
    ),
    "acoustic_onnx": (
        {"AUDIO": ("TYPE_FP32", [-1]), "NUM_SAMPLES": ("TYPE_INT32", [1])},
        {"LOG_PROBS": ("TYPE_FP32", [-1, 68]), "NUM_FRAMES": ("TYPE_INT32", [1])},
    ),
    "acoustic_openvino": (
        {"AUDIO": ("TYPE_FP32", [-1]), "NUM_SAMPLES": ("TYPE_INT32", [1])},
        {"LOG_PROBS": ("TYPE_FP32", [-1, 68]), "NUM_FRAMES": ("TYPE_INT32", [1])},
    ),
    # without Triton's batches: the first dimension is the batch
    "acoustic_trt": (
        {"AUDIO": ("TYPE_FP32", [-1, -1]), "NUM_SAMPLES": ("TYPE_INT32", [-1, 1])},
        {"LOG_PROBS": ("TYPE_FP32", [-1, -1, 68]), "NUM_FRAMES": ("TYPE_INT32", [-1, 1])},
    ),
    "ctc_decoder": (
        {"LOG_PROBS": ("TYPE_FP32", [-1, -1]), "DURATION": ("TYPE_FP32", [1])},
        {"TRANSCRIPT": ("TYPE_STRING", [1]), "RESULT": ("TYPE_STRING", [1])},
    ),
}
QUEUED = ["acoustic", "acoustic_onnx", "acoustic_trt", "acoustic_openvino", "ctc_decoder"]


@pytest.fixture(scope="module")
def configs(tmp_path_factory: pytest.TempPathFactory) -> dict[str, ModelConfig]:
    """Every model's configuration, as it is before an export."""
    repository = copy_repository(tmp_path_factory.mktemp("configurations") / "model_repository")
    return {
        path.parent.name: text_format.Parse(path.read_text(encoding="utf-8"), ModelConfig())
        for path in repository.glob("*/config.pbtxt")
    }


@pytest.mark.parametrize("model", CONTRACT)
def test_tensors_are_those_of_the_contract(configs: dict[str, ModelConfig], model: str) -> None:
    config = configs[model]
    inputs, outputs = CONTRACT[model]
    assert config.name == model
    assert config.max_batch_size == (0 if model == "acoustic_trt" else 64)
    assert {one.name: (DataType.Name(one.data_type), list(one.dims)) for one in config.input} == inputs
    assert {one.name: (DataType.Name(one.data_type), list(one.dims)) for one in config.output} == outputs


@pytest.mark.parametrize("model", QUEUED)
def test_queues_are_bounded_and_time_out(configs: dict[str, ModelConfig], model: str) -> None:
    config = configs[model]
    assert config.WhichOneof("scheduling_choice") == "dynamic_batching"
    policy = config.dynamic_batching.default_queue_policy
    assert policy.max_queue_size > 0
    assert policy.default_timeout_microseconds > 0
    assert policy.timeout_action == ModelQueuePolicy.REJECT
    assert policy.allow_timeout_override


def test_ragged_inputs_let_requests_of_any_length_queue_together(configs: dict[str, ModelConfig]) -> None:
    assert configs["acoustic"].input[0].allow_ragged_batch
    assert {one.name: one.allow_ragged_batch for one in configs["ctc_decoder"].input} == {
        "LOG_PROBS": True,
        "DURATION": False,
    }


@pytest.mark.parametrize("engine", ["acoustic_onnx", "acoustic_trt", "acoustic_openvino"])
def test_warm_up_reaches_the_extremes_of_the_batchers_budget(configs: dict[str, ModelConfig], engine: str) -> None:
    warmups = configs[engine].model_warmup
    if engine == "acoustic_trt":
        assert all(warmup.batch_size == 1 for warmup in warmups)
        shapes = [tuple(warmup.inputs["AUDIO"].dims) for warmup in warmups]
        assert [list(warmup.inputs["NUM_SAMPLES"].dims) for warmup in warmups] == [[rows, 1] for rows, _ in shapes]
    else:
        shapes = [(warmup.batch_size, warmup.inputs["AUDIO"].dims[0]) for warmup in warmups]
    parameters = configs["acoustic"].parameters
    budget = 16000 * float(parameters["batch_budget_seconds"].string_value)
    window = 16000 * float(parameters["window_seconds"].string_value)
    assert max(rows * samples for rows, samples in shapes) == budget
    assert max(samples for _, samples in shapes) == window
    assert min(rows for rows, _ in shapes) == 1
    assert not configs["acoustic"].model_warmup


def test_float32_means_float32_on_a_gpu(configs: dict[str, ModelConfig]) -> None:
    """ONNX Runtime's CUDA provider would round to tf32 otherwise; TensorRT's builder is told by the export."""
    (accelerator,) = configs["acoustic_onnx"].optimization.execution_accelerators.gpu_execution_accelerator
    assert accelerator.name == "cuda"
    assert accelerator.parameters["use_tf32"] == "0"
