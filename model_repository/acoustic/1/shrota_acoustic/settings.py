"""The settings of the acoustic model: ``parameters`` of its ``config.pbtxt``, and ``frontend.json``."""

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from shrota_acoustic.errors import SettingsError

DEFAULTS = {
    "engine": "acoustic_onnx",
    "engines": "acoustic_onnx,acoustic_trt,acoustic_torch,acoustic_openvino",
    "window_seconds": "20",
    "overlap_seconds": "2",
    "batch_budget_seconds": "40",
    "max_batch_rows": "64",
    "max_padding": "0.1",
    "length_step_seconds": "0",
    "patience_batches": "4",
    "engine_calls": "1",
    "pending_budget_seconds": "3600",
    "max_wait_seconds": "30",
    "max_audio_seconds": "7200",
    "other_parameters": "id",
}


@dataclass(frozen=True)
class Frontend:
    """How the engine's feature extractor turns samples into frames."""

    sample_rate: int
    """Hz."""
    stride: int
    """Samples from one frame to the next."""
    receptive_field: int
    """Samples that one frame sees."""

    def frames(self, samples: int) -> int:
        """How many frames ``samples`` samples give."""
        return max(0, (samples - self.receptive_field) // self.stride + 1)

    def samples(self, frames: int) -> int:
        """How many samples ``frames`` frames need, 0 for none."""
        return (frames - 1) * self.stride + self.receptive_field if frames else 0


@dataclass(frozen=True)
class Settings:
    """Everything that the acoustic model can be told; lengths are samples at the model's rate."""

    frontend: Frontend
    engine: str
    engines: tuple[str, ...]
    window: int
    overlap: int
    batch_budget: int
    max_batch_rows: int
    max_padding: float
    length_step: int
    patience_batches: int
    engine_calls: int
    pending_budget: int
    max_wait_s: float
    """Wall seconds."""
    max_audio_seconds: float
    other_parameters: tuple[str, ...]
    """Names of request parameters, or patterns of names, that are let through though no step knows them."""


def read_frontend(path: Path) -> Frontend:
    """Reads ``frontend.json``, which the export writes.

    Raises:
        SettingsError: The file is missing, not JSON, or lacks a value.
    """
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        text = f"{path} is missing: export a checkpoint with `shrota export onnx`"
        raise SettingsError(text) from error
    except (OSError, ValueError) as error:
        text = f"{path} cannot be read ({error}): export the checkpoint again with `shrota export onnx`"
        raise SettingsError(text) from error
    values = {}
    for name in ("sample_rate", "stride", "receptive_field"):
        value = content.get(name) if isinstance(content, dict) else None
        if not isinstance(value, int) or isinstance(value, bool) or value < 1:
            text = f"{path}: `{name}` must be a positive integer, not {value!r}; export the checkpoint again"
            raise SettingsError(text)
        values[name] = value
    return Frontend(**values)


class _Reader:
    """The model's parameters as numbers; every error names the parameter and what it must be."""

    def __init__(self, parameters: Mapping[str, str], sample_rate: int) -> None:
        # names in capitals are the Python backend's own
        unknown = sorted(name for name in parameters if name not in DEFAULTS and not name.isupper())
        if unknown:
            raise SettingsError(f"unknown parameter `{unknown[0]}`; known are: {', '.join(DEFAULTS)}")
        self._values = {**DEFAULTS, **parameters}
        self._sample_rate = sample_rate

    def text(self, name: str) -> str:
        return self._values[name].strip()

    def names(self, name: str) -> tuple[str, ...]:
        """A list, parted by commas."""
        return tuple(each.strip() for each in self._values[name].split(",") if each.strip())

    def number(self, name: str, least: float, most: float = math.inf) -> float:
        try:
            value = float(self._values[name])
        except ValueError:
            value = math.nan
        if math.isinf(value) or not least <= value <= most:
            limit = f"of at least {least:g}" if math.isinf(most) else f"from {least:g} to {most:g}"
            raise SettingsError(f"parameter `{name}` must be a number {limit}, not {self._values[name]!r}")
        return value

    def count(self, name: str, most: int) -> int:
        value = self.number(name, 1, most)
        if not value.is_integer():
            raise SettingsError(f"parameter `{name}` must be a whole number, not {self._values[name]!r}")
        return int(value)

    def samples(self, name: str, least: int) -> int:
        """A parameter in seconds, in samples."""
        return round(self.number(name, least / self._sample_rate) * self._sample_rate)


def read_settings(parameters: Mapping[str, str], frontend: Frontend) -> Settings:
    """Checks the model's parameters; those that are missing get ``DEFAULTS``.

    Raises:
        SettingsError: A parameter is unknown, not a number, or out of range; names the parameter.
    """
    read = _Reader(parameters, frontend.sample_rate)
    settings = Settings(
        frontend=frontend,
        engine=read.text("engine"),
        engines=read.names("engines"),
        window=read.samples("window_seconds", frontend.samples(2)),
        overlap=read.samples("overlap_seconds", 0),
        batch_budget=read.samples("batch_budget_seconds", 0),
        max_batch_rows=read.count("max_batch_rows", 65_536),
        max_padding=read.number("max_padding", 0, 1),
        length_step=read.samples("length_step_seconds", 0),
        patience_batches=read.count("patience_batches", 1_000_000),
        engine_calls=read.count("engine_calls", 16),
        pending_budget=read.samples("pending_budget_seconds", 1),
        max_wait_s=read.number("max_wait_seconds", 0),
        max_audio_seconds=read.number("max_audio_seconds", 0.001),
        other_parameters=read.names("other_parameters"),
    )
    _check_together(settings)
    return settings


def _check_together(settings: Settings) -> None:
    """Refuses settings that are fine alone and contradict each other."""
    frontend = settings.frontend
    if settings.engine not in settings.engines:
        raise SettingsError(f"parameter `engine` is {settings.engine!r}, which parameter `engines` does not list")
    if math.ceil(settings.overlap / frontend.stride) >= frontend.frames(settings.window):
        raise SettingsError("parameter `overlap_seconds` must be shorter than `window_seconds` by a frame or more")
    longest = settings.window
    if settings.length_step:
        longest = math.ceil(longest / settings.length_step) * settings.length_step
    if settings.batch_budget < longest:
        seconds = longest / frontend.sample_rate
        raise SettingsError(f"parameter `batch_budget_seconds` must hold one window: at least {seconds:g}")


def load_settings(model_config: str, frontend_path: Path, engine: str | None = None) -> Settings:
    """Settings out of the model's configuration, JSON as Triton gives it, and the file ``frontend.json``.

    ``engine`` takes the place of the parameter of that name.

    Raises:
        SettingsError: See :func:`read_frontend` and :func:`read_settings`.
    """
    parameters = json.loads(model_config).get("parameters", {})
    texts = {name: value["string_value"] for name, value in parameters.items()}
    if engine:
        texts["engine"] = engine
    return read_settings(texts, read_frontend(frontend_path))
