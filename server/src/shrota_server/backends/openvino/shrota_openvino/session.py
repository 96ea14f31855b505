"""Compiles a model with OpenVINO, and refuses a file that is missing, broken or not what ``config.pbtxt`` declares."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from shrota_batch import Arrays
from shrota_contract import EngineFileError, find_misfits
from shrota_settings import SettingsError, shortened

from .package import openvino
from .settings import GROUP_SIZE, PRECISION, Settings

# Triton's data types -> OpenVINO's
TYPES = {
    "TYPE_BOOL": "boolean",
    "TYPE_UINT8": "u8",
    "TYPE_INT8": "i8",
    "TYPE_INT16": "i16",
    "TYPE_INT32": "i32",
    "TYPE_INT64": "i64",
    "TYPE_FP16": "f16",
    "TYPE_FP32": "f32",
    "TYPE_FP64": "f64",
}
REMEDY = "run `shrota export openvino CHECKPOINT`"
OPTIONS = "runtime_options"
"""Where a model's file keeps the properties that it is to be compiled with (OpenVINO's name)."""


class ShapeError(ValueError):
    """An input has a shape that the model does not take, such as fewer samples than give a frame."""


@dataclass(frozen=True)
class Port:
    """An input or output of a model; a size that is None is open."""

    name: str
    type: str
    shape: tuple[int | None, ...]


class Session:
    """A compiled model with one request, which runs one batch at a time.

    Args:
        settings: of the instance.

    Raises:
        EngineFileError: the file is missing, is no whole model, or does not fit ``config.pbtxt``.
        SettingsError: OpenVINO does not take the settings.
    """

    def __init__(self, settings: Settings) -> None:
        path = settings.model_path
        if not path.is_file():
            raise EngineFileError(f"no engine at {path}: {REMEDY}")
        core = openvino.Core()
        try:
            model = core.read_model(path)
        except Exception as error:  # RuntimeError, but for what is no text
            raise EngineFileError(f"{path} cannot be read by OpenVINO ({one_line(error)}): {REMEDY} again") from error
        misfits = find_misfits(settings.contract, _ports(model.inputs), _ports(model.outputs), TYPES)
        if misfits:
            raise EngineFileError(f"{path} does not fit config.pbtxt ({'; '.join(misfits)}): {REMEDY} again")
        self._core, self._model = core, model
        self._properties = {**options_of(model), **settings.properties}
        try:
            compiled = self._compile()
        except Exception as error:
            raise SettingsError(f"OpenVINO cannot compile the model ({one_line(error)})") from error
        self._shapes = {node.any_name: node.partial_shape for node in model.inputs}
        self.precision = str(compiled.get_property(PRECISION).to_string())
        """of what is not in 8 bits, as OpenVINO runs it here: float32 where the processor lacks what was asked for"""
        self._request: Any = compiled.create_infer_request()

    def run(self, inputs: Arrays, wanted: Sequence[str]) -> Arrays:
        """The wanted outputs of a batch.

        Raises:
            ShapeError: inputs that the model does not take.
            RuntimeError: OpenVINO's, if the run fails.
        """
        for name, array in inputs.items():
            if not openvino.PartialShape(list(array.shape)).compatible(self._shapes[name]):
                raise ShapeError(f"{name} is {list(array.shape)}: the model takes {self._shapes[name]}")
        if self._request is None:
            self._request = self._compile().create_infer_request()
        # the inputs are only read, and not kept after the run; the outputs are copies
        try:
            outputs = self._request.infer(inputs, share_inputs=True)
        except Exception:
            # A shape that fails leaves nodes behind that refuse the shape before it, too (2026.4.1), in every request
            # of the compiled model.
            self._request = None
            raise
        return {name: outputs[name] for name in wanted}

    def _compile(self) -> Any:
        return self._core.compile_model(self._model, "CPU", self._properties)


def options_of(model: Any) -> dict[str, str]:
    """What a model's file says that it is to be compiled with: the export's precision, as the gate has judged it."""
    paths = {name: [OPTIONS, name] for name in (PRECISION, GROUP_SIZE)}
    return {name: model.get_rt_info(path).astype(str) for name, path in paths.items() if model.has_rt_info(path)}


def one_line(error: BaseException) -> str:
    """An error's text in one line, without the checks and places in OpenVINO's source, cut to a readable length."""
    lines = [re.sub(r"Check '.*' failed at src/\S+$", "", line) for line in str(error).splitlines()]
    return shortened(" ".join(line for line in lines if not line.startswith("Exception from ")))


def _ports(nodes: Sequence[Any]) -> list[Port]:
    return [
        Port(
            node.any_name,
            node.element_type.to_string(),
            tuple(size.get_length() if size.is_static else None for size in node.partial_shape),
        )
        for node in nodes
    ]
