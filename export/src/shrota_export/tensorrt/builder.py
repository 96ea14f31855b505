"""Builds a plan, and says in one line why that fails."""

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from shrota_client.gpu import Gpu
from shrota_export.errors import PlanError
from shrota_export.progress import step
from shrota_export.tensorrt.flavours import Flavour
from shrota_export.tensorrt.graphs import Precision
from shrota_export.tensorrt.log import Layer, count_types, make_log, make_monitor
from shrota_export.tensorrt.profiles import GROWTH, Batcher, Profile, make_profiles
from shrota_export.tensorrt.timing_cache import TimingCache

OUT_OF_MEMORY = re.compile(r"out ?of ?memory|could not be allocated|insufficient memory", re.IGNORECASE)
REQUESTED = re.compile(r"(\d{7,}) bytes|amount of GPU memory \((\d+)")
NO_KERNEL = re.compile(r"Cannot compile operation '([^']+)' for Turing[^:]*: (.*?)\. ")
NO_TYPE = re.compile(
    r"Cannot compile for target\(s\) (sm[\w, ]+), because the model contains HW-specific datatypes: (\w+)"
)
TYPES = {"b16": "bfloat16"}
GIB = 2**30


@dataclass(frozen=True)
class Request:
    """What is to be built."""

    flavour: Flavour
    graph: Path
    precision: Precision
    profiles: Sequence[Profile]
    batcher: Batcher
    """what the profiles were made for"""
    targets: Sequence[str]
    """compute capabilities as in "8.9"; empty for the GPU of this machine"""
    gpu: Gpu | None
    """that of this machine"""


@dataclass(frozen=True)
class Built:
    """A plan and what the builder said of it."""

    plan: Any
    """a buffer of bytes"""
    types: dict[str, dict[str, int]]
    """see :func:`shrota_export.tensorrt.log.count_types`"""
    layers: list[Layer]
    """of the engine, as far as the builder lists them"""
    activation_bytes: list[int]
    """GPU memory for activations, of each profile; empty if the builder does not say"""


def build_plan(request: Request, timing_cache: TimingCache) -> Built:
    """Parses the graph (with weights in files beside it, if it is above 2 GB) and builds a strongly typed engine.

    Raises:
        PlanError: if TensorRT does not know a node, has no kernel for the GPU, or runs out of GPU memory.
        KeyboardInterrupt: on Ctrl-C, which ends the build at its next step.
    """
    trt = request.flavour.load()
    log = make_log(trt)
    builder = trt.Builder(log)
    network = builder.create_network(_strongly_typed(trt))
    with step("parse the graph"):
        parser = trt.OnnxParser(network, log)
        if not parser.parse_from_file(str(request.graph)):
            raise PlanError(_unsupported(request, parser))
    config = builder.create_builder_config()
    _configure(trt, builder, config, request)
    cache = timing_cache.attach(config)
    monitor = config.progress_monitor = make_monitor(trt)
    count = len(request.profiles)
    with step(f"build the plan ({request.precision}, {count} profile{'s' if count > 1 else ''})"):
        plan = builder.build_serialized_network(network, config)
        if monitor.interrupted:
            raise KeyboardInterrupt
        if plan is None:
            raise PlanError(explain(request, log.errors, log.activation_bytes))
    if cache is not None:
        timing_cache.save(cache)
    return Built(plan, count_types(network), log.layers, log.activation_bytes)


def _strongly_typed(trt: Any) -> int:
    """The flag with which TensorRT 10 takes the types of the graph; later versions know nothing else."""
    flag = getattr(trt.NetworkDefinitionCreationFlag, "STRONGLY_TYPED", None)
    return 0 if flag is None else 1 << int(flag)


def _configure(trt: Any, builder: Any, config: Any, request: Request) -> None:
    # on by default: float32 means float32
    if request.precision is Precision.TF32:
        config.set_flag(trt.BuilderFlag.TF32)
    else:
        config.clear_flag(trt.BuilderFlag.TF32)
    # the plan can then be asked for the types of its layers, on any machine that runs it
    config.profiling_verbosity = trt.ProfilingVerbosity.DETAILED
    for profile in request.profiles:
        shapes = (profile.least, profile.usual, profile.largest)
        optimisation = builder.create_optimization_profile()
        optimisation.set_shape("AUDIO", *shapes)
        optimisation.set_shape("NUM_SAMPLES", *((rows, 1) for rows, _ in shapes))
        config.add_optimization_profile(optimisation)
    if request.targets:
        config.num_compute_capabilities = len(request.targets)
        for index, target in enumerate(request.targets):
            config.set_compute_capability(compute_capability(trt, target), index)


def compute_capability(trt: Any, target: str) -> Any:
    """TensorRT's name for a compute capability such as "8.9".

    Raises:
        PlanError: if this version builds nothing for it.
    """
    name = f"SM{target.replace('.', '')}"
    if not hasattr(trt.ComputeCapability, name):
        names = sorted((n for n in dir(trt.ComputeCapability) if n.startswith("SM")), key=lambda n: int(n[2:]))
        known = ", ".join(map(_dotted, names))
        raise PlanError(f"version {trt.__version__} builds nothing for compute capability {target}, only for {known}")
    return getattr(trt.ComputeCapability, name)


def _dotted(names: str) -> str:
    """SM120 -> 12.0."""
    return re.sub(r"sm(\d+)(\d)", r"\1.\2", names, flags=re.IGNORECASE)


def _unsupported(request: Request, parser: Any) -> str:
    """Why the parser refused the graph: its first error, with the node."""
    title = request.flavour.title
    if not parser.num_errors:
        return f"{title} cannot read {request.graph}"
    error = parser.get_error(0)
    reason = " ".join(str(error.desc()).split())
    more = f" (and {parser.num_errors - 1} more)" if parser.num_errors > 1 else ""
    node = error.node_name() or f"number {error.node()}"
    return (
        f"{title} cannot build {request.graph}: node {node} ({error.node_operator()}) is not supported: {reason}{more}"
    )


def explain(request: Request, errors: Sequence[str], activation_bytes: Sequence[int]) -> str:
    """Why a build failed, in one line, from the errors that TensorRT logged."""
    title = request.flavour.title
    for error in errors:
        if found := NO_KERNEL.search(f"{error} "):
            return (
                f"{title} cannot run the node {found[1]} on compute capability 7.5 (Turing: T4, RTX 20): {found[2]}; "
                f"there a plan needs the fp16 graph (--precision fp16)"
            )
        if found := NO_TYPE.search(error):
            kind = TYPES.get(found[2], found[2])
            return (
                f"the graph holds {kind}, which GPUs of compute capability {_dotted(found[1])} do not have: build for "
                f"another one, or from the fp16 graph (--precision fp16)"
            )
    if any(OUT_OF_MEMORY.search(error) for error in errors):
        return _out_of_memory(request, errors, activation_bytes)
    reason = errors[-1] if errors else "it does not say why"
    return f"{title} cannot build a plan of {request.graph}: {reason}"


def _out_of_memory(request: Request, errors: Sequence[str], activation_bytes: Sequence[int]) -> str:
    """Names the profile that was too large, and the budget whose profiles would fit, in proportion to the memory."""
    failed = request.profiles[min(len(activation_bytes), len(request.profiles) - 1)]
    asked = max((int(first or second) for error in errors for first, second in REQUESTED.findall(error)), default=0)
    free = request.gpu.free_bytes if request.gpu else 0
    wanted = f", which asked for {asked / GIB:.1f} GiB at once" if asked else ""
    had = f"; {request.gpu} has {free / GIB:.1f} GiB free" if free else ""
    share = min(free / asked, 0.5) if asked and free else 0.5
    remedy = _smaller(request.batcher, failed.largest[0] * failed.largest[1] * share)
    return f"out of GPU memory at the profile of {failed.describe(request.batcher.sample_rate)}{wanted}{had}: {remedy}"


def _smaller(batcher: Batcher, area: float) -> str:
    """The settings whose largest profile has at most ``area`` samples, and that profile."""
    rate = batcher.sample_rate
    for seconds in range(batcher.budget // rate, -(-batcher.longest // rate) - 1, -1):
        profiles = make_profiles(replace(batcher, budget=max(seconds * rate, batcher.longest)))
        largest = max(profiles, key=lambda profile: profile.largest[0] * profile.largest[1])
        if largest.largest[0] * largest.largest[1] <= area:
            return (
                f"a profile of {largest.describe(rate)} should fit: set batch_budget_seconds in acoustic/config.pbtxt "
                f"to {seconds}, or free GPU memory"
            )
    seconds = max(1, int(area / GROWTH / rate))
    return (
        f"a profile of {GROWTH} x {seconds} s should fit: set window_seconds and batch_budget_seconds in "
        f"acoustic/config.pbtxt to {seconds}, or free GPU memory"
    )
