"""What holds for all tests.

Property tests draw the same examples every time, and a busy machine fails none of them.
"""

import os
import sys

import pytest
from hypothesis import settings

from shrota_testing import tools

# onnxruntime's wheels keep a database of usage in the home folder and send it to their maker otherwise
os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")
# `import openvino` reports to its maker by itself otherwise
sys.modules.setdefault("openvino_telemetry", None)  # type: ignore[arg-type]
# PyTorch's threads would spin between runs, while ONNX Runtime's and other programs' wait for the processors
os.environ.setdefault("OMP_WAIT_POLICY", "passive")

settings.register_profile("shrota", deadline=None, derandomize=True)
settings.load_profile("shrota")


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup(item: pytest.Item) -> None:
    """Programs that a test needs are looked for before its fixtures want them."""
    tools.check_marks(item)
