"""OpenVINO without its telemetry: ``import openvino`` reports to its maker otherwise, and asks nobody."""

import sys

sys.modules.setdefault("openvino_telemetry", None)  # type: ignore[arg-type]  # what is None cannot be imported

import openvino  # noqa: E402 - after that

__all__ = ["openvino"]
