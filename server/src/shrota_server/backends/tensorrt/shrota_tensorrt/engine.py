# mypy: disallow-subclassing-any=False
"""A plan in GPU memory: named tensors, buffers that stay, and the profile that fits each shape."""

import contextlib
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .cuda import CudaMemoryError, Device

REMEDY = "run `shrota export tensorrt`"
Shape = tuple[int, ...]


class PlanFileError(Exception):
    """The plan cannot be run here; the text is one line that names the file and the remedy."""


class ShapeError(ValueError):
    """A shape that no profile of the plan holds; one line that says which would fit."""


class RunError(RuntimeError):
    """TensorRT failed at a batch; one line."""


@dataclass(frozen=True)
class Profile:
    """The shapes of one optimisation profile, by the name of the input: least, usual, largest."""

    shapes: Mapping[str, tuple[Shape, Shape, Shape]]

    def holds(self, shapes: Mapping[str, Shape]) -> bool:
        """Whether inputs of these shapes can be run in it."""
        return all(self._holds(name, shape) for name, shape in shapes.items())

    def _holds(self, name: str, shape: Shape) -> bool:
        least, _, largest = self.shapes[name]
        if len(shape) != len(least):
            return False
        return all(low <= size <= high for low, size, high in zip(least, shape, largest, strict=True))

    def distance(self, shapes: Mapping[str, Shape]) -> int:
        """How far the shapes are from the usual ones: sum of the differences, as NVIDIA's backend has it."""
        return sum(
            abs(size - usual)
            for name, shape in shapes.items()
            for size, usual in zip(shape, self.shapes[name][1], strict=True)
        )


class PlanEngine:
    """A plan that is ready to run. Not for several threads at a time.

    All memory on the GPU is taken here, once: for each tensor a buffer of its largest size in any profile, and for the
    activations one block that the profiles' contexts share, because they never run at the same time.

    Args:
        trt: the module ``tensorrt`` or ``tensorrt_rtx``.
        device: the GPU.
        path: the plan.

    Raises:
        PlanFileError: the plan is missing, of another version or for another GPU, or too large for the free memory.
    """

    def __init__(self, trt: Any, device: Device, path: Path) -> None:
        self._device = device
        self._log = _make_log(trt)
        device.activate()
        # the runtime must live as long as the engine
        self._runtime = trt.Runtime(self._log)
        self._engine = self._read(path)
        names = [self._engine.get_tensor_name(index) for index in range(self._engine.num_io_tensors)]
        modes = {name: self._engine.get_tensor_mode(name) for name in names}
        self.inputs = [name for name in names if modes[name] == trt.TensorIOMode.INPUT]
        self.outputs = [name for name in names if modes[name] != trt.TensorIOMode.INPUT]
        self._types = {name: np.dtype(trt.nptype(self._engine.get_tensor_dtype(name))) for name in names}
        self.profiles = [self._read_profile(index) for index in range(self._engine.num_optimization_profiles)]
        self._addresses: list[int] = []
        self._contexts: list[Any] = []
        try:
            self._contexts = self._make_contexts(trt)
        except CudaMemoryError as error:
            self.close()
            raise PlanFileError(
                f"{path} needs more GPU memory than is free ({error}): free some, or lower batch_budget_seconds in "
                f"acoustic/config.pbtxt and {REMEDY} again"
            ) from error

    def run(self, inputs: Mapping[str, NDArray[Any]], wanted: Sequence[str]) -> dict[str, NDArray[Any]]:
        """Runs one batch; the arrays that it gives are new.

        Raises:
            ShapeError: no profile holds the inputs' shapes.
            RunError: TensorRT failed.
            CudaError: the GPU failed.
        """
        shapes = {name: tuple(inputs[name].shape) for name in self.inputs}
        index = self._choose(shapes)
        context = self._contexts[index]
        self._device.activate()
        arrays = [np.ascontiguousarray(inputs[name], self._types[name]) for name in self.inputs]
        for name, array in zip(self.inputs, arrays, strict=True):
            self._check(context.set_input_shape(name, shapes[name]))
            self._device.upload(array, self._buffers[name])
        self._check(context.execute_async_v3(self._device.stream))
        outputs = {name: np.empty(tuple(context.get_tensor_shape(name)), self._types[name]) for name in wanted}
        for name, array in outputs.items():
            self._device.download(self._buffers[name], array)
        self._device.synchronize()
        return outputs

    def close(self) -> None:
        """Gives the GPU memory back."""
        self._contexts = []
        for address in self._addresses:
            with contextlib.suppress(Exception):  # the GPU may be what failed
                self._device.free(address)
        self._addresses = []

    def _read(self, path: Path) -> Any:
        try:
            content = path.read_bytes()
        except OSError as error:
            raise PlanFileError(f"no engine at {path}: {REMEDY}") from error
        engine = self._runtime.deserialize_cuda_engine(content)
        if engine is None:
            reason = self._log.last_error or "TensorRT does not say why"
            raise PlanFileError(f"{path} cannot be run by this TensorRT on this GPU ({reason}): {REMEDY} here")
        return engine

    def _read_profile(self, index: int) -> Profile:
        shapes = {}
        for name in self.inputs:
            least, usual, largest = (tuple(shape) for shape in self._engine.get_tensor_profile_shape(name, index))
            shapes[name] = (least, usual, largest)
        return Profile(shapes)

    def _make_contexts(self, trt: Any) -> list[Any]:
        """One context for each profile, with buffers that hold what any of them can take."""
        contexts = []
        sizes = dict.fromkeys([*self.inputs, *self.outputs], 0)
        for index, profile in enumerate(self.profiles):
            context = self._engine.create_execution_context(trt.ExecutionContextAllocationStrategy.USER_MANAGED)
            if context is None:
                raise RunError(f"TensorRT makes no context: {self._log.last_error}")
            self._check(context.set_optimization_profile_async(index, self._device.stream))
            for name in self.inputs:
                self._check(context.set_input_shape(name, profile.shapes[name][2]))
            for name in sizes:
                size = math.prod(context.get_tensor_shape(name)) * self._types[name].itemsize
                sizes[name] = max(sizes[name], size)
            contexts.append(context)
        self._device.synchronize()
        needed = [self._engine.get_device_memory_size_for_profile_v2(index) for index in range(len(self.profiles))]
        block = self._allocate(max(needed))
        self._buffers = {name: self._allocate(size) for name, size in sizes.items()}
        for context in contexts:
            context.set_device_memory(block, max(needed))
            for name, address in self._buffers.items():
                self._check(context.set_tensor_address(name, address))
        return contexts

    def _allocate(self, size: int) -> int:
        address = self._device.allocate(size)
        self._addresses.append(address)
        return address

    def _choose(self, shapes: Mapping[str, Shape]) -> int:
        """The profile whose usual shapes are nearest, of those that hold the shapes."""
        fitting = [index for index, profile in enumerate(self.profiles) if profile.holds(shapes)]
        if not fitting:
            asked = ", ".join(f"{name} {list(shape)}" for name, shape in shapes.items())
            name = self.inputs[0]
            known = ", ".join(f"{list(p.shapes[name][0])} to {list(p.shapes[name][2])}" for p in self.profiles)
            raise ShapeError(f"no profile of the plan holds {asked}; those of {name} are {known}")
        return min(fitting, key=lambda index: self.profiles[index].distance(shapes))

    def _check(self, succeeded: object) -> None:
        if not succeeded:
            raise RunError(f"TensorRT failed: {self._log.last_error or 'it does not say why'}")


def _make_log(trt: Any) -> Any:
    class LastError(trt.ILogger):
        """Keeps the last error, shows nothing."""

        def __init__(self) -> None:
            super().__init__()
            self.last_error = ""

        def log(self, severity: Any, message: str) -> None:
            """Takes one message."""
            if severity in {trt.ILogger.ERROR, trt.ILogger.INTERNAL_ERROR}:
                self.last_error = " ".join(message.split())

    return LastError()
