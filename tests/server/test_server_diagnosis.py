"""The one line that says why a start failed, from Triton's own words."""

import pytest

from shrota_server.diagnosis import find_cause

TIME = "1122 17:50:19.410301 14830"
NO_GPU = [
    f'E{TIME} server.cc:241] "CudaDriverHelper has not been initialized."',
    "Error: Failed to initialize NVML",
]
STACK = r"\n\nAt:\n  /b/onnxruntime/model.py(43): initialize\n"
FAILED_LOAD = (
    f"E{TIME} model_lifecycle.cc:642] \"failed to load 'acoustic_onnx' version 1: Internal: TritonModelException: "
    f'no engine at /r/model.onnx: run `shrota export onnx CHECKPOINT`{STACK}"'
)


@pytest.mark.parametrize(
    ("lines", "cause"),
    [
        (
            [FAILED_LOAD],
            "model acoustic_onnx cannot be loaded: no engine at /r/model.onnx: run `shrota export onnx CHECKPOINT`",
        ),
        (
            [
                (
                    f"E{TIME} model_lifecycle.cc:642] \"failed to load 'acoustic_onnx' version 1: Internal: onnx "
                    'runtime error 7: Load model from /r/model.onnx failed:Protobuf parsing failed."'
                )
            ],
            (
                "model acoustic_onnx cannot be loaded: onnx runtime error 7: Load model from /r/model.onnx "
                "failed:Protobuf parsing failed.: run `shrota export onnx CHECKPOINT`"
            ),
        ),
        (
            [
                (
                    "[libprotobuf ERROR text_format.cc:337] Error parsing text-format inference.ModelConfig: "
                    '103:9: Message type "inference.ModelConfig" has no field named "nonsense".'
                ),
                (
                    f"E{TIME} model_repository_manager.cc:1460] \"Poll failed for model directory 'acoustic_onnx': "
                    'failed to read text proto from /r/config.pbtxt"'
                ),
                "error: creating server: Internal - failed to load all models",
            ],
            (
                "config.pbtxt of model acoustic_onnx cannot be read: "
                '103:9: Message type "inference.ModelConfig" has no field named "nonsense".'
            ),
        ),
        (
            [
                (
                    "/b/triton_python_backend_stub: error while loading shared libraries: libpython3.11.so.1.0: "
                    "cannot open shared object file: No such file or directory"
                ),
                (
                    f"E{TIME} model_lifecycle.cc:642] \"failed to load 'acoustic' version 1: "
                    "Internal: Stub process 'acoustic_0_0' is not healthy.\""
                ),
            ],
            (
                "Triton needs the shared library libpython3.11.so.1.0, which is not installed: "
                "on Debian and Ubuntu run `apt-get install libpython3.11`"
            ),
        ),
        (
            ["failed to start HTTP service: Unavailable - Socket '127.0.0.1:8000' already in use "],
            "port 8000 is already in use: stop what listens there, or give another with --http-port",
        ),
        (
            ["error: creating server: Invalid argument - load failed for model 'asr': it is gone;"],
            "load failed for model 'asr': it is gone",
        ),
        ([f'E{TIME} main.cc:1] "something new"'], "something new"),
        (["Killed"], "Killed"),
        ([], "Triton ended without a word: see its log (`--log-level info`)"),
    ],
)
def test_the_cause_is_found_among_the_noise(lines: list[str], cause: str) -> None:
    assert find_cause([*NO_GPU, *lines]) == cause
