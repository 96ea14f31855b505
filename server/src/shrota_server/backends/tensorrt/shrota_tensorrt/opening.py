"""Opens the plan of a model's version folder with the TensorRT that its description names."""

import importlib
import json
from pathlib import Path
from typing import Any

from .cuda import CudaDevice, CudaError
from .engine import REMEDY, PlanEngine, PlanFileError

MODULES = {"tensorrt": "tensorrt", "tensorrt-rtx": "tensorrt_rtx"}
"""The flavours of ``plan.json`` and their Python modules."""


def open_plan(folder: Path, filename: str = "model.plan", ordinal: int = 0) -> PlanEngine:
    """The plan in ``folder``, on the GPU with number ``ordinal``.

    Raises:
        PlanFileError: it cannot be run here; one line that says why and what to do.
    """
    trt = load_tensorrt(read_flavour(folder))
    try:
        return PlanEngine(trt, CudaDevice(ordinal), folder / filename)
    except CudaError as error:
        raise PlanFileError(f"{folder / filename} cannot be run here: {error}") from error


def read_flavour(folder: Path) -> str:
    """The flavour that ``plan.json`` names; "tensorrt" if there is none."""
    try:
        return str(json.loads((folder / "plan.json").read_text(encoding="utf-8"))["tensorrt"]["flavour"])
    except (OSError, ValueError, KeyError, TypeError):
        return "tensorrt"


def load_tensorrt(flavour: str) -> Any:
    """The Python module of a flavour.

    Raises:
        PlanFileError: it is not installed, or unknown.
    """
    if flavour not in MODULES:
        raise PlanFileError(f"plan.json names the unknown flavour {flavour!r}: {REMEDY}")
    try:
        return importlib.import_module(MODULES[flavour])
    except (ImportError, OSError) as error:
        reason = " ".join(str(error).split())
        raise PlanFileError(
            f"the package {flavour} cannot be loaded ({reason}): run `pip install {flavour}`"
        ) from error
