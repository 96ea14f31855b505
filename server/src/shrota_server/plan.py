"""Compares a TensorRT plan with this machine, before Triton is started.

A plan runs only in the TensorRT that built it, on the GPUs that it was built for. TensorRT says so in its own words,
when Triton is half up; with ``plan.json`` beside the plan, which ``shrota export tensorrt`` writes, it is said at once.
"""

import ctypes
import json
import math
import os
import re
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from shrota_client.gpu import Gpu, find_gpu
from shrota_server.errors import PlanError

ENGINE = "acoustic_trt"
SPARE_ENGINE = "acoustic_onnx"
TITLES = {"tensorrt": "TensorRT", "tensorrt-rtx": "TensorRT-RTX"}
"""By the name of the package on PyPI, which is also the plan's ``flavour``."""
LIBRARIES = ("libnvinfer.so.11", "libnvinfer.so.10", "libnvinfer.so")
"""TensorRT's library, as NVIDIA's container has it without the Python package."""


@dataclass(frozen=True)
class Description:
    """What ``plan.json`` says of a plan."""

    flavour: str
    version: str
    compute_capabilities: tuple[str, ...]
    precision: str
    plan_bytes: int
    checkpoint: str | None
    """hash of the checkpoint, where it is known"""
    batcher: Mapping[str, float]
    """the largest batches of ``acoustic`` that its profiles hold"""

    def __str__(self) -> str:
        targets = ", ".join(self.compute_capabilities)
        return f"{TITLES.get(self.flavour, self.flavour)} {self.version} for compute capability {targets}"


@dataclass(frozen=True)
class Machine:
    """What decides which plans run here."""

    gpu: Gpu | None
    tensorrt: str | None
    """version of TensorRT, or None"""
    rtx: str | None
    """version of TensorRT-RTX, or None"""
    is_container: bool
    """whether Triton brings NVIDIA's own backends, of which none knows TensorRT-RTX"""

    def version(self, flavour: str) -> str | None:
        """The version of a plan's ``flavour`` that is here."""
        return self.rtx if flavour == "tensorrt-rtx" else self.tensorrt


def look_around() -> Machine:
    """This machine."""
    is_container = shutil.which("tritonserver") is not None
    tensorrt = library_version() if is_container else _package_version("tensorrt")
    return Machine(find_gpu(), tensorrt, _package_version("tensorrt-rtx"), is_container)


def check_plan(repository: Path, machine: Machine | None = None) -> None:
    """Says whether the plan in ``repository`` runs on ``machine``; on this one unless another is given.

    Raises:
        PlanError: it does not, there is none, or nobody can tell; names both sides and the command that builds the
            right one.
    """
    folder = repository / ENGINE / "1"
    plan = folder / "model.plan"
    if not plan.is_file():
        raise PlanError(f"no engine at {plan}: run {_command(repository)}")
    description = read_description(folder / "plan.json", _command(repository))
    command = _command(repository, description)
    if description.plan_bytes != plan.stat().st_size:
        raise PlanError(f"{folder / 'plan.json'} describes another plan than {plan}: run {command}")
    reason = find_difference(description, machine or look_around())
    if reason is not None:
        raise PlanError(f"the plan {plan} was built by {description}, but {reason}: run {command} on this machine")
    reason = find_change(description, repository)
    if reason is not None:
        raise PlanError(f"the plan {plan} is out of date: {reason}: run {command}")


def find_difference(description: Description, machine: Machine) -> str | None:
    """In what a machine is not the one that a plan was built for; None if it is."""
    if machine.gpu is None:
        return "here is no NVIDIA GPU (or no driver for it)"
    title = TITLES.get(description.flavour, description.flavour)
    here = machine.version(description.flavour)
    if machine.gpu.compute_capability not in description.compute_capabilities:
        return f"here is {title} {here or '(not installed)'} and {machine.gpu}"
    if machine.is_container and description.flavour == "tensorrt-rtx":
        return f"the tritonserver here runs plans of TensorRT {machine.tensorrt or ''} only".replace("  ", " ")
    if here is None and not machine.is_container:
        return f"{title} is not installed here (`pip install {description.flavour}=={description.version}` brings it)"
    # in a container whose library does not tell its version, NVIDIA's backend will find out
    is_same = here is None or _same_version(description.version, here)
    return None if is_same else f"here is {title} {here} and {machine.gpu}"


def find_change(description: Description, repository: Path) -> str | None:
    """What has changed in a repository since the plan was built, so that it would give or refuse the wrong; or None."""
    exported = exported_checkpoint(repository)
    if description.checkpoint is not None and exported is not None and description.checkpoint != exported:
        return "another checkpoint has been exported since"
    for name, value in read_batcher(repository).items():
        built_for = description.batcher.get(name, value)
        if value > built_for:
            return f"acoustic/config.pbtxt allows {name} {value:g} now, and it was built for {built_for:g}"
    return None


def read_batcher(repository: Path) -> dict[str, float]:
    """The largest batches that ``acoustic/config.pbtxt`` allows, by the names in ``plan.json``; empty if broken."""
    try:
        text = (repository / "acoustic" / "config.pbtxt").read_text(encoding="utf-8")
    except OSError:
        return {}
    found = dict(re.findall(r'key:\s*"(\w+)"\s*,?\s*value:?\s*\{\s*string_value:\s*"([^"]*)"', text))
    limits = {}
    try:
        window, step = float(found["window_seconds"]), float(found.get("length_step_seconds", 0))
        limits["longest_seconds"] = math.ceil(window / step) * step if step else window
        for name in ("batch_budget_seconds", "max_batch_rows"):
            limits[name] = float(found[name])
    except (KeyError, ValueError):  # the model itself says what is wrong with its settings
        return {}
    return limits


def exported_checkpoint(repository: Path) -> str | None:
    """Hash of the checkpoint that the repository serves; None where nothing says it."""
    try:
        content = json.loads((repository / SPARE_ENGINE / "1" / "manifest.json").read_text(encoding="utf-8"))
        return str(content["checkpoint"]["sha256"])
    except (OSError, ValueError, KeyError, TypeError):
        return None


def read_description(path: Path, command: str) -> Description:
    """Reads ``plan.json``.

    Raises:
        PlanError: it is missing or not one; ``command`` is named as the remedy.
    """
    try:
        content: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        return Description(
            flavour=str(content["tensorrt"]["flavour"]),
            version=str(content["tensorrt"]["version"]),
            compute_capabilities=tuple(str(one) for one in content["compute_capabilities"]),
            precision=str(content["precision"]),
            plan_bytes=int(content["plan"]["bytes"]),
            checkpoint=(content["checkpoint"] or {}).get("sha256"),
            batcher={name: float(value) for name, value in content["batcher"].items()},
        )
    except FileNotFoundError:
        raise PlanError(f"{path} is missing, so nobody knows what the plan was built for: run {command}") from None
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise PlanError(f"{path} cannot be read, so nobody knows what the plan was built for: run {command}") from error


def library_version() -> str | None:
    """The version of TensorRT's library, without that of its build; None if it is not here."""
    for name in LIBRARIES:
        try:
            number = int(ctypes.CDLL(name).getInferLibVersion())
        except (OSError, AttributeError):
            continue
        # NV_TENSORRT_VERSION of NvInferVersion.h: 10.13.2 is 101302
        return f"{number // 10000}.{number // 100 % 100}.{number % 100}"
    return None


def _package_version(name: str) -> str | None:
    try:
        return version(name)
    except PackageNotFoundError:
        return None


def _same_version(one: str, other: str) -> bool:
    """Equal in as many numbers as both have; a version from the library lacks that of the build."""
    left, right = (re.findall(r"\d+", text) for text in (one, other))
    return all(a == b for a, b in zip(left, right, strict=False))


def _command(repository: Path, description: Description | None = None) -> str:
    options = ["--repository", os.fspath(repository)]
    if description is not None:
        options[:0] = ["--precision", description.precision]
        if description.flavour == "tensorrt-rtx":
            options[:0] = ["--for", "rtx"]
    return f"`shrota export tensorrt {' '.join(options)}`"
