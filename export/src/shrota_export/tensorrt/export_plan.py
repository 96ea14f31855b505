"""From a graph to a plan in the repository: the whole of ``shrota export tensorrt``."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from shrota_client.configuration import write_configuration
from shrota_client.gpu import Gpu, find_gpu
from shrota_export.configuration import OUTPUT, read_configuration
from shrota_export.errors import PlanError, RepositoryError
from shrota_export.frontend import Frontend
from shrota_export.manifest import write_json
from shrota_export.paths import FRONTEND, PLAN, PLAN_CONFIGURATION, PLAN_DESCRIPTION
from shrota_export.repository import publication
from shrota_export.tensorrt.builder import Built, Request, build_plan
from shrota_export.tensorrt.description import describe, identity, is_built
from shrota_export.tensorrt.flavours import Flavour
from shrota_export.tensorrt.graphs import Graph, Precision, check_precision, find_graph, read_graph
from shrota_export.tensorrt.profiles import make_profiles, read_batcher
from shrota_export.tensorrt.timing_cache import TimingCache, usual_path

COMMAND = "shrota export tensorrt"


@dataclass(frozen=True)
class Order:
    """What the user asks for."""

    graph: str | None
    """a graph's file, a checkpoint that is exported, or None for what is in the repository"""
    precision: Precision
    flavour: Flavour
    compute_capabilities: Sequence[str] = ()
    timing_cache: Path | None = None
    speech: Path = Path("samples/manifest.jsonl")
    """a manifest, to compare the plan with the float32 graph"""
    force: bool = False


@dataclass(frozen=True)
class PlanExport:
    """What was written, for whoever wants to say so."""

    description: dict[str, Any]
    """the content of ``plan.json``"""
    was_built: bool
    """False if it was there already"""


def export_plan(order: Order, repository: Path) -> PlanExport:
    """Builds a plan, compares it where it can run, and puts it into the repository with its description.

    Raises:
        ExportError: with the cause; the repository is then as it was.
    """
    with publication(repository) as files:
        trt = order.flavour.load()
        gpu = find_gpu()
        targets = _targets(order, gpu)
        graph = read_graph(find_graph(order.graph, repository, order.precision))
        check_precision(graph, order.precision)
        batcher = read_batcher(repository, _read_frontend(repository))
        profiles = make_profiles(batcher)
        request = Request(order.flavour, graph.path, order.precision, profiles, batcher, targets, gpu)
        wanted = identity(request, graph, trt.__version__)
        configuration = _configuration(repository, graph, len(profiles))
        if not order.force and configuration is None and is_built(repository, wanted):
            content = json.loads((repository / PLAN_DESCRIPTION).read_text(encoding="utf-8"))
            return PlanExport(content, was_built=False)
        cache = order.timing_cache or usual_path(order.flavour, trt.__version__, gpu)
        built = build_plan(request, TimingCache(cache))
        _write(files.path(PLAN), built)
        from shrota_export.tensorrt.comparison import compare_plan  # noqa: PLC0415 - what it takes is slow to import

        comparison = compare_plan(request, repository, files.path(PLAN), order.speech)
        content = {**describe(request, wanted, built, files.path(PLAN)), "comparison": comparison}
        written = [PLAN]
        if configuration is not None:
            files.path(PLAN_CONFIGURATION).write_text(configuration, encoding="utf-8")
            written = [PLAN_CONFIGURATION, PLAN]
        write_json(files.path(PLAN_DESCRIPTION), content)
        files.commit([*written, PLAN_DESCRIPTION])
    return PlanExport(content, was_built=True)


def _targets(order: Order, gpu: Gpu | None) -> Sequence[str]:
    """The compute capabilities to name to the builder; none means this machine's GPU, on which it then works."""
    asked = list(dict.fromkeys(order.compute_capabilities))
    title = order.flavour.title
    if order.flavour.needs_gpu:
        if gpu is None:
            raise PlanError(
                f"there is no NVIDIA GPU here (or no driver for it), and {title} times its kernels on the one that "
                "runs the plan: build it there, or for a GeForce or RTX GPU with --for rtx --compute-capability 8.9"
            )
        if asked and asked != [gpu.compute_capability]:
            raise PlanError(
                f"{title} builds for the GPU that it runs on, {gpu}, and not for {', '.join(asked)}: "
                "leave --compute-capability out, or build on that machine"
            )
        return ()
    if asked:
        return asked
    if gpu is None:
        raise PlanError(
            "there is no NVIDIA GPU here whose plan could be built: name what to build for with --compute-capability, "
            "e.g. 8.6 (RTX 30), 8.9 (RTX 40) or 12.0 (RTX 50)"
        )
    return (gpu.compute_capability,)


def _read_frontend(repository: Path) -> Frontend:
    path = repository / FRONTEND
    try:
        return Frontend(**json.loads(path.read_text(encoding="utf-8")))
    except FileNotFoundError:
        raise RepositoryError(f"{path} is missing: run `shrota export onnx CHECKPOINT` first") from None
    except (OSError, ValueError, TypeError) as error:
        raise RepositoryError(f"{path} cannot be read: run `shrota export onnx CHECKPOINT` again") from error


def _configuration(repository: Path, graph: Graph, profiles: int) -> str | None:
    """The text of ``config.pbtxt`` with this vocabulary and these profiles; None if it says so already."""
    path = repository / PLAN_CONFIGURATION
    config = read_configuration(path)
    names = [str(index) for index in range(profiles)]
    output = next((output for output in config.output if output.name == OUTPUT), None)
    if output is None or not config.instance_group:
        raise RepositoryError(f"{path} has no output {OUTPUT} or no instance_group; restore it from the source")
    (group, *_) = config.instance_group
    if list(group.profile) == names and output.dims[-1] == graph.vocabulary_size:
        return None
    group.profile[:] = names
    output.dims[-1] = graph.vocabulary_size
    return write_configuration(config)


def _write(path: Path, built: Built) -> None:
    with path.open("wb") as file:
        file.write(memoryview(built.plan))
