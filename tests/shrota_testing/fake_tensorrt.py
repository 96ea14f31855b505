"""As much of the package ``tensorrt`` as building a plan and running it needs, without its libraries and a GPU.

The builder writes down what it was told and "builds" the bytes of the graph; the runtime runs them with ONNX Runtime,
out of the memory of a :class:`FakeDevice`. So tests see the calls and the numbers, but nothing of TensorRT's own.
"""

from collections.abc import Callable, Sequence
from enum import Enum
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any


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
    """

    def __init__(
        self,
        version: str = "10.13.2.6",
        build_log: Sequence[tuple[int, str]] = (),
        parse_errors: Sequence[tuple[str, str, str]] = (),
        on_build: Callable[[Config], None] = lambda _: None,
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
