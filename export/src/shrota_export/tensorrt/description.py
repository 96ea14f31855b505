"""``plan.json`` beside a plan: what it was built from, by what and for which GPU, and how far it was compared.

A plan runs only in the TensorRT that built it and on the GPUs that it was built for. ``shrota serve`` reads this file
before it starts Triton, see :mod:`shrota_server.plan`.
"""

import json
from pathlib import Path
from typing import Any

from shrota_client.gpu import Gpu
from shrota_export.manifest import describe_file, now
from shrota_export.paths import PLAN, PLAN_DESCRIPTION
from shrota_export.tensorrt.builder import Built, Request
from shrota_export.tensorrt.graphs import Graph, Precision


def identity(request: Request, graph: Graph, version: str) -> dict[str, Any]:
    """All that decides what a plan is; a plan with the same need not be built again."""
    return {
        "tensorrt": {"flavour": request.flavour.name, "version": version},
        "compute_capabilities": list(request.targets) or [_required(request.gpu).compute_capability],
        "precision": str(request.precision),
        "tf32": request.precision is Precision.TF32,
        "batcher": request.batcher.as_json(),
        "profiles": [{"AUDIO": profile.as_json()} for profile in request.profiles],
        "graph": {"sha256": graph.sha256, "precision": str(graph.precision)},
        "checkpoint": graph.checkpoint,
    }


def describe(request: Request, wanted: dict[str, Any], built: Built, plan: Path) -> dict[str, Any]:
    """The whole content of ``plan.json`` but ``comparison``; ``wanted`` is the plan's :func:`identity`."""
    gpu = None if request.gpu is None else {"name": request.gpu.name, "driver": request.gpu.driver}
    return {
        **wanted,
        "built_on": gpu,
        "types": built.types,
        "activation_bytes": built.activation_bytes,
        "plan": describe_file(plan),
        "date": now(),
    }


def is_built(repository: Path, wanted: dict[str, Any]) -> bool:
    """Whether the repository holds, whole, the plan that ``wanted`` (see :func:`identity`) describes."""
    try:
        content = json.loads((repository / PLAN_DESCRIPTION).read_text(encoding="utf-8"))
        same = all(content[key] == value for key, value in wanted.items())
        return same and bool((repository / PLAN).stat().st_size == content["plan"]["bytes"])
    except (OSError, ValueError, KeyError, TypeError):
        return False


def _required(gpu: Gpu | None) -> Gpu:
    if gpu is None:
        raise ValueError("without a GPU there must be targets")
    return gpu
