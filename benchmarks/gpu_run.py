"""A measurement of bounded time whose results are written after each step, for :mod:`benchmarks.gpu`."""

import json
import sys
import time
from collections.abc import Callable
from dataclasses import asdict
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import torch

from benchmarks.gpu_page import markdown
from benchmarks.machine import processor
from benchmarks.progress import say
from shrota_client.gpu import find_gpu
from shrota_export.manifest import now
from shrota_export.random_checkpoint import Shape, make_config

LIBRARIES = ("torch", "transformers", "onnx", "onnxruntime-gpu", "onnxruntime", "nvidia-pytriton", "numpy")
LIKE = "indicwav2vec-hindi"
"""The architecture of the large model."""
LEAST_S = 15
"""A step is not begun with less left."""


class Run:
    """The steps, their results, and the time that is left.

    Args:
        output: files are written to ``OUTPUT.json`` and ``OUTPUT.md``.
        device: "cuda" or "cpu".
        limit_s: seconds for all steps.
        command: the command line, for the page's head.
        shape: of the large model, see :func:`describe_shape`.
        only: steps with one of these in their name; all if there is none.
    """

    def __init__(
        self,
        output: Path,
        device: str,
        limit_s: float,
        command: str,
        shape: dict[str, Any],
        *,
        only: tuple[str, ...] = (),
    ) -> None:
        self.device = device
        self._only = only
        self._output = output
        self._end = time.monotonic() + limit_s
        self.results: dict[str, Any] = {
            "date": now(),
            "command": command,
            "shape": shape,
            "machine": describe_machine(),
            "device": device,
            "steps": {},
        }

    @property
    def left_s(self) -> float:
        """Seconds until the end."""
        return self._end - time.monotonic()

    def step(self, name: str, work: Callable[[], dict[str, Any]], least_s: float = LEAST_S) -> dict[str, Any]:
        """Runs one, keeps what it gives or why it gives nothing, and writes everything; {} if it is not wanted."""
        if self._only and not any(text in name for text in self._only):
            return {}
        if self.left_s < least_s:
            found: dict[str, Any] = {"left_out": f"{max(0.0, self.left_s):.0f} s left"}
        else:
            say(f"{name} ({self.left_s:.0f} s left)")
            started = time.monotonic()
            try:
                found = work()
            except Exception as error:  # noqa: BLE001 - the other steps still count
                found = {"error": f"{type(error).__name__}: {' '.join(str(error).split())[:400]}"}
                say(f"  {found['error']}")
            found["seconds"] = time.monotonic() - started
        if self.device == "cuda":
            torch.cuda.empty_cache()
        self.results["steps"][name] = found
        self.write()
        return found

    def write(self) -> None:
        """Both files, each whole. A page that cannot be made does not end the measurement."""
        self._output.parent.mkdir(parents=True, exist_ok=True)
        self._replace(".json", json.dumps(self.results, indent=1) + "\n")
        try:
            page = markdown(self.results)
        except Exception as error:  # noqa: BLE001 - of one step's results; the other steps still count
            say(f"  no page: {error!r}")
            return
        self._replace(".md", page)

    def _replace(self, suffix: str, text: str) -> None:
        staged = self._output.with_suffix(f"{suffix}.part")
        staged.write_text(text, encoding="utf-8")
        staged.replace(self._output.with_suffix(suffix))


def describe_shape(shape: Shape) -> dict[str, Any]:
    """Of the large model, in numbers, and whether it is the published one."""
    config, published = make_config(LIKE, shape), make_config(LIKE, Shape())
    names = ("num_hidden_layers", "hidden_size", "num_attention_heads", "conv_dim")
    return {**{name: config[name] for name in names}, "is_published": config == published}


def describe_machine() -> dict[str, Any]:
    """GPU, driver, processor, versions."""
    versions = {}
    for name in LIBRARIES:
        try:
            versions[name] = version(name)
        except PackageNotFoundError:
            continue
    gpu = find_gpu()
    return {
        "gpu": asdict(gpu) if gpu else None,
        "cuda": torch.version.cuda,
        "processor": processor(),
        "python": sys.version.split()[0],
        "versions": versions,
    }
