"""Checkpoint to model repository: export, verification, manifest."""

import os

# onnxruntime's wheels keep a database of usage in the home folder and send it to their maker otherwise
os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")
