"""The embedded server's backends without a server: their ``model.py`` as Triton would load it, and requests to it."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from google.protobuf import json_format, text_format
from tritonclient.grpc.model_config_pb2 import ModelConfig

import shrota_server
from shrota_testing.pb_utils import Request, load_model
from shrota_testing.utterances import noise_rows

OUTPUTS = ["LOG_PROBS", "NUM_FRAMES"]


def load_engine(backend: str, engine: Path, monkeypatch: pytest.MonkeyPatch, kind: str = "CPU") -> Any:
    """The engine's folder in a model repository, initialised on a ``kind`` of instance."""
    config = text_format.Parse((engine / "config.pbtxt").read_text(encoding="utf-8"), ModelConfig())
    file = Path(shrota_server.__file__).parent / "backends" / backend / "model.py"
    loaded = load_model(file, monkeypatch).TritonPythonModel()
    loaded.initialize(
        {
            "model_config": json.dumps(json_format.MessageToDict(config, preserving_proto_field_name=True)),
            "model_name": engine.name,
            "model_repository": str(engine),
            "model_version": "1",
            "model_instance_kind": kind,
            "model_instance_device_id": "0",
        }
    )
    return loaded


def engine_request(rows: int, samples: int = 4000, *, cancelled: bool = False) -> Request:
    """Noise, [rows, samples], of which all rows are full."""
    inputs = {
        "AUDIO": noise_rows(rows, samples, seed=rows),
        "NUM_SAMPLES": np.full((rows, 1), samples, np.int32),
    }
    return Request(inputs, OUTPUTS, lambda: cancelled)
