"""Compares the engine of OpenVINO with this machine and with what is served beside it, before Triton is started."""

import importlib.util
import shutil
from pathlib import Path

from shrota_server.engine_check import check_engine
from shrota_server.errors import EngineError

ENGINE = "acoustic_openvino"
PACKAGE = "openvino"


def check_openvino_engine(repository: Path) -> None:
    """Says whether the engine in ``repository`` is of the checkpoint whose tokens the decoder has, and can run here.

    Raises:
        EngineError: it is not, there is none, or the package openvino is missing where Triton does not bring its own.
    """
    check_engine(repository, ENGINE, "shrota export openvino CHECKPOINT")
    if shutil.which("tritonserver") is None and importlib.util.find_spec(PACKAGE) is None:
        raise EngineError(f"{ENGINE} needs the package openvino, which is not installed: run `pip install openvino`")
