"""As much of the package ``tensorrt`` as building a plan and running it needs, without its libraries and a GPU.

The builder writes down what it was told and "builds" the bytes of the graph; the runtime runs them with ONNX Runtime,
out of the memory of a :class:`FakeDevice`. So tests see the calls and the numbers, but nothing of TensorRT's own.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from enum import Enum
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import numpy as np
import onnxruntime
from numpy.typing import NDArray

from shrota_tensorrt.cuda import CudaMemoryError

Shape = tuple[int, ...]
STREAM = 77
ACTIVATION_BYTES = 1000


class Logger:
    """``ILogger`` with TensorRT's severities."""

    INTERNAL_ERROR, ERROR, WARNING, INFO, VERBOSE = range(5)

    def __init__(self) -> None:
        """As pybind's classes have it."""


class Monitor:
    """``IProgressMonitor``."""

    def __init__(self) -> None:
        """As pybind's classes have it."""


class BuilderFlag(Enum):
    """The flags that the build sets."""

    TF32 = 1


class Config:
    """``IBuilderConfig``: remembers everything; TF32 is on, as in TensorRT."""

    def __init__(self) -> None:
        self.flags = {BuilderFlag.TF32}
        self.profiles: list[dict[str, Sequence[Any]]] = []
        self.timing: bytes | None = None
        self.profiling_verbosity: object = None
        self.progress_monitor: Any = None

    def set_flag(self, flag: BuilderFlag) -> None:
        """Sets a flag."""
        self.flags.add(flag)

    def clear_flag(self, flag: BuilderFlag) -> None:
        """Clears a flag."""
        self.flags.discard(flag)

    def add_optimization_profile(self, profile: SimpleNamespace) -> int:
        """Keeps a profile."""
        self.profiles.append(profile.shapes)
        return len(self.profiles) - 1

    def create_timing_cache(self, content: bytes) -> SimpleNamespace:
        """A cache that grows by a build."""
        return SimpleNamespace(content=content, serialize=lambda: content + b" and this build")

    def set_timing_cache(self, cache: SimpleNamespace, *, ignore_mismatch: bool) -> bool:
        """Refuses what another version wrote."""
        if cache.content.startswith(b"foreign") and not ignore_mismatch:
            return False
        self.timing = cache.content
        self.cache = cache
        return True

    def get_timing_cache(self) -> SimpleNamespace:
        """The cache that was set."""
        return self.cache


class FakeTensorRT(ModuleType):
    """The module.

    Args:
        version: what it says it is.
        build_log: (severity, message) pairs that the builder logs; one of ERROR makes the build fail.
        parse_errors: (operator, node, reason) of each node that the parser does not know.
        on_build: is called with the configuration while it builds.
        device: the GPU that plans run on.
        profiles: the shapes of AUDIO of each profile of the plans that it reads: least, usual, largest.
    """

    def __init__(
        self,
        *,
        version: str = "10.13.2.6",
        build_log: Sequence[tuple[int, str]] = (),
        parse_errors: Sequence[tuple[str, str, str]] = (),
        on_build: Callable[[Config], None] = lambda _: None,
        device: "FakeDevice | None" = None,
        profiles: Sequence[tuple[Shape, Shape, Shape]] = (),
    ) -> None:
        super().__init__("tensorrt")
        self.__version__ = version
        self.ILogger = Logger
        self.IProgressMonitor = Monitor
        self.BuilderFlag = BuilderFlag
        self.ProfilingVerbosity = SimpleNamespace(DETAILED="detailed")
        # version 11 knows nothing but strong types, and so no flag for them
        flags = {"STRONGLY_TYPED": 3} if version.startswith("10.") else {}
        self.NetworkDefinitionCreationFlag = SimpleNamespace(**flags)
        self.configs: list[Config] = []
        self.network_flags: list[int] = []
        self.Builder = lambda log: _Builder(self, log, build_log, on_build)
        self.OnnxParser = lambda network, _: _Parser(network, parse_errors)
        self.TensorIOMode = SimpleNamespace(INPUT="input", OUTPUT="output")
        self.ExecutionContextAllocationStrategy = SimpleNamespace(USER_MANAGED="user managed")
        self.nptype = {"tensor(float)": np.float32, "tensor(int32)": np.int32}.__getitem__
        self.contexts: list[_Context] = []
        self.Runtime = lambda log: _Runtime(self, log, device or FakeDevice(), profiles)


class _Builder:
    def __init__(
        self,
        trt: FakeTensorRT,
        log: Any,
        build_log: Sequence[tuple[int, str]],
        on_build: Callable[[Config], None],
    ) -> None:
        self._trt, self._log, self._build_log, self._on_build = trt, log, build_log, on_build

    def create_network(self, flags: int) -> SimpleNamespace:
        """An empty network."""
        self._trt.network_flags.append(flags)
        return SimpleNamespace(num_layers=0, content=b"")

    def create_builder_config(self) -> Config:
        """A configuration, which the module remembers."""
        config = Config()
        self._trt.configs.append(config)
        return config

    def create_optimization_profile(self) -> SimpleNamespace:
        """A profile."""
        shapes: dict[str, Sequence[Any]] = {}

        def set_shape(name: str, *three: Any) -> None:
            shapes[name] = three

        return SimpleNamespace(shapes=shapes, set_shape=set_shape)

    def build_serialized_network(self, network: SimpleNamespace, config: Config) -> bytes | None:
        """The graph's bytes; None after an error, or when the monitor says stop."""
        self._on_build(config)
        for severity, message in self._build_log:
            self._log.log(severity, message)
        if any(severity <= Logger.ERROR for severity, _ in self._build_log):
            return None
        config.progress_monitor.phase_start("Building", None, 1)
        goes_on = config.progress_monitor.step_complete("Building", 0)
        config.progress_monitor.phase_finish("Building")
        return bytes(network.content) if goes_on else None


class _Parser:
    def __init__(self, network: SimpleNamespace, errors: Sequence[tuple[str, str, str]]) -> None:
        self._network, self._errors = network, errors

    @property
    def num_errors(self) -> int:
        """How many nodes it does not know."""
        return len(self._errors)

    def parse_from_file(self, path: str) -> bool:
        """Takes the file for the network."""
        self._network.content = Path(path).read_bytes()
        return not self._errors

    def get_error(self, index: int) -> SimpleNamespace:
        """What it does not know."""
        operator, name, reason = self._errors[index]
        return SimpleNamespace(
            desc=lambda: reason, node=lambda: 7, node_name=lambda: name, node_operator=lambda: operator
        )


class FakeDevice:
    """A :class:`shrota_tensorrt.cuda.Device` in the machine's own memory, of ``capacity`` bytes."""

    def __init__(self, capacity: int = 2**30) -> None:
        self.stream = STREAM
        self.out_of_memory: type[Exception] = CudaMemoryError
        self.memory: dict[int, NDArray[np.uint8]] = {}
        self.allocations = 0
        self.active = False
        self._capacity = capacity
        self._pending: list[Callable[[], None]] = []

    def activate(self) -> None:
        """Every call needs it."""
        self.active = True

    def allocate(self, size: int) -> int:
        """A block, filled with rubbish."""
        if size + sum(block.size for block in self.memory.values()) > self._capacity:
            raise self.out_of_memory("CUDA: cuMemAlloc_v2 failed with CUDA_ERROR_OUT_OF_MEMORY")
        self.allocations += 1
        address = 4096 * self.allocations
        self.memory[address] = np.full(size, 0xAA, np.uint8)
        return address

    def free(self, address: int) -> None:
        """Forgets a block."""
        del self.memory[address]

    def upload(self, array: NDArray[Any], address: int) -> None:
        """Fills a block from its start."""
        assert self.active
        content = np.frombuffer(array.tobytes(), np.uint8)
        self._pending.append(lambda: self._write(address, content))

    def download(self, address: int, array: NDArray[Any]) -> None:
        """Fills an array, but not before the stream is waited for."""
        self._pending.append(lambda: self._read(address, array))

    def enqueue(self, work: Callable[[], None]) -> None:
        """Work of the stream, in order."""
        self._pending.append(work)

    def synchronize(self) -> None:
        """Does everything."""
        for work in self._pending:
            work()
        self._pending = []

    def view(self, address: int, shape: Shape, dtype: Any) -> NDArray[Any]:
        """A block's beginning as an array."""
        size = math.prod(shape) * np.dtype(dtype).itemsize
        assert size <= self.memory[address].size, "a buffer is too small"
        array: NDArray[Any] = self.memory[address][:size].view(dtype).reshape(shape)
        return array

    def _write(self, address: int, content: NDArray[np.uint8]) -> None:
        self.view(address, content.shape, np.uint8)[:] = content

    def _read(self, address: int, array: NDArray[Any]) -> None:
        array[...] = self.view(address, array.shape, array.dtype)


class _Runtime:
    def __init__(
        self,
        trt: FakeTensorRT,
        log: Any,
        device: FakeDevice,
        profiles: Sequence[tuple[Shape, Shape, Shape]],
    ) -> None:
        self._trt, self._log, self._device, self._profiles = trt, log, device, profiles

    def deserialize_cuda_engine(self, content: bytes) -> "_Engine | None":
        """An engine; None for what is no graph."""
        try:
            session = onnxruntime.InferenceSession(content, providers=["CPUExecutionProvider"])
        except Exception:  # noqa: BLE001 - onnxruntime's errors share no other base class
            self._log.log(Logger.ERROR, "Error Code 6: The engine plan file\nis not compatible with this version")
            return None
        return _Engine(self._trt, session, self._device, self._profiles)


class _Engine:
    def __init__(
        self, trt: FakeTensorRT, session: Any, device: FakeDevice, profiles: Sequence[tuple[Shape, Shape, Shape]]
    ) -> None:
        self.trt, self.session, self.device, self.profiles = trt, session, device, profiles
        self.inputs = {node.name: node for node in session.get_inputs()}
        self.outputs = {node.name: node for node in session.get_outputs()}
        self._names = [*self.outputs, *self.inputs]  # in no order that anybody may rely on
        self.num_io_tensors = len(self._names)
        self.num_optimization_profiles = len(profiles)

    def get_tensor_name(self, index: int) -> str:
        """The name of a tensor."""
        return str(self._names[index])

    def get_tensor_mode(self, name: str) -> str:
        """Input or output."""
        return "input" if name in self.inputs else "output"

    def get_tensor_dtype(self, name: str) -> str:
        """The name that onnxruntime has for the type."""
        return str({**self.inputs, **self.outputs}[name].type)

    def get_tensor_profile_shape(self, name: str, index: int) -> list[Shape]:
        """Least, usual and largest shape."""
        return [shape if name == "AUDIO" else (shape[0], 1) for shape in self.profiles[index]]

    def get_device_memory_size_for_profile_v2(self, index: int) -> int:
        """Memory for the activations of a profile."""
        return ACTIVATION_BYTES * (index + 1)

    def create_execution_context(self, strategy: str) -> "_Context":
        """A context without memory of its own."""
        assert strategy == "user managed"
        context = _Context(self)
        self.trt.contexts.append(context)
        return context


class _Context:
    def __init__(self, engine: _Engine) -> None:
        self._engine = engine
        self.profile = 0
        self.runs = 0
        self.memory = (0, 0)
        self._addresses: dict[str, int] = {}
        self._shapes: dict[str, Shape] = {}
        self.fails = False

    def set_optimization_profile_async(self, index: int, stream: int) -> bool:
        """Chooses the profile."""
        assert stream == STREAM
        self.profile = index
        return index < self._engine.num_optimization_profiles

    def set_input_shape(self, name: str, shape: Shape) -> bool:
        """Takes a shape of its profile."""
        least, _, largest = self._engine.get_tensor_profile_shape(name, self.profile)
        self._shapes[name] = shape
        return all(low <= size <= high for low, size, high in zip(least, shape, largest, strict=True))

    def get_tensor_shape(self, name: str) -> Shape:
        """A shape, computed from those of the inputs."""
        if name in self._shapes:
            return self._shapes[name]
        rows, samples = self._shapes["AUDIO"]
        size = self._engine.outputs["LOG_PROBS"].shape[-1]
        return (rows, (samples - 400) // 320 + 1, size) if name == "LOG_PROBS" else (rows, 1)

    def set_device_memory(self, address: int, size: int) -> None:
        """Memory for the activations."""
        self.memory = (address, size)

    def set_tensor_address(self, name: str, address: int) -> bool:
        """Where a tensor is."""
        self._addresses[name] = address
        return True

    def execute_async_v3(self, stream: int) -> bool:
        """Runs the graph, in the stream's order."""
        assert stream == STREAM
        assert self.memory[1] >= self._engine.get_device_memory_size_for_profile_v2(self.profile)
        assert self.memory[0] in self._engine.device.memory
        if self.fails:
            return False
        self.runs += 1
        shapes = dict(self._shapes)
        self._engine.device.enqueue(lambda: self._run(shapes))
        return True

    def _run(self, shapes: Mapping[str, Shape]) -> None:
        device, engine = self._engine.device, self._engine
        feeds = {
            name: device.view(self._addresses[name], shape, engine.trt.nptype(engine.get_tensor_dtype(name)))
            for name, shape in shapes.items()
        }
        for name, array in zip(engine.outputs, engine.session.run(list(engine.outputs), feeds), strict=True):
            device.view(self._addresses[name], array.shape, array.dtype)[...] = array
