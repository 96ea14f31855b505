"""Runs a new plan on speech against the float32 graph, where there is a GPU that can, before it is installed.

The plan is run by the code that serves it (the backend of shrota-server), and judged by the gate that judges graphs.
"""

import importlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from shrota_export.engines import Engine, Floats, Ints
from shrota_export.errors import PlanError
from shrota_export.gate import Spoken, Subject, Thresholds, check, open_subject, read_speech
from shrota_export.gate.speech import fingerprint
from shrota_export.gate.subject import make_subject
from shrota_export.manifest import describe_file, read_manifest
from shrota_export.paths import FLOAT32_MODEL, MANIFEST, MODEL, PLAN_DESCRIPTION
from shrota_export.precision.graphs import load_graph, weights_files
from shrota_export.precision.kinds import Precision as GraphPrecision
from shrota_export.progress import step
from shrota_export.tensorrt.builder import Request
from shrota_export.tensorrt.graphs import Precision, precision_of_file
from shrota_export.tensorrt.profiles import Profile

RUNNER = "shrota_server.backends.tensorrt.shrota_tensorrt.opening"
"""Of shrota-server, which need not be installed where plans are built."""


def compare_plan(request: Request, repository: Path, plan: Path, speech: Path) -> dict[str, Any]:
    """What the gate measured, for ``plan.json``; or why the plan could not be run, and what it measured of the graph.

    Args:
        request: what the plan was built from.
        repository: holds the float32 graph.
        plan: the new plan, not installed yet.
        speech: a manifest (see :mod:`shrota_client.manifest`).

    Raises:
        PlanError: the plan does not run on the GPU that it was built for.
        GateError: it does not give what the float32 graph gives.
    """
    reference = float32_graph(repository)
    why = _why_not(request)
    if why is None and reference is None:
        why = "the repository holds no float32 graph to compare it with"
    if reference is None or why is not None:
        checked = None if reference is None else check_graph(request.graph, repository, reference, speech)
        return {"was_run": False, "why": why, **({"graph": checked} if checked else {})}
    trusted = open_subject(reference)
    with step("compare the plan with the float32 graph on speech"):
        engine = _open(request, plan)
        try:
            run = within_profiles(lambda audio, count: _run(engine, audio, count), request.profiles)
            precision = GraphPrecision(str(request.precision.of_graph))
            candidate = trusted.beside(f"the {request.precision} plan", run, precision)
            thresholds = Thresholds.of(_alike(request.precision))
            report = check(candidate, trusted, read_speech(speech, trusted), thresholds)
        finally:
            engine.close()
        report.raise_for_failures()
    return {"was_run": True, **report.as_dict()}


def float32_graph(repository: Path) -> Path | None:
    """The float32 graph of a repository: the one that is served, or the one that is kept beside it; None if neither."""
    for path in (repository / MODEL, repository / FLOAT32_MODEL):
        if path.is_file() and precision_of_file(path) is Precision.FP32:
            return path
    return None


def check_graph(graph: Path, repository: Path, reference: Path, speech: Path) -> dict[str, Any] | None:
    """The gate's report on the graph of a plan that cannot be run here; None for the float32 graph itself.

    A graph that `shrota export precision` has installed was judged then. That report is taken if nothing has changed:
    the files of both graphs, the speech, and the usual thresholds of the precision.

    Raises:
        GateError: the graph does not give what the float32 graph gives.
    """
    if graph.resolve() == reference.resolve():
        return None
    trusted = open_subject(reference)
    spoken = read_speech(speech, trusted)
    if graph.resolve() == (repository / MODEL).resolve():
        found = _judged_before(repository, reference, spoken)
        if found is not None:
            return found
    with step("compare the plan's graph with the float32 graph on speech"):
        candidate = make_subject(
            str(graph), load_graph(graph), vocabulary=trusted.vocabulary, sample_rate=trusted.sample_rate
        )
        report = check(candidate, trusted, spoken)
    report.raise_for_failures()
    return report.as_dict()


def _judged_before(repository: Path, reference: Path, speech: Sequence[Spoken]) -> dict[str, Any] | None:
    """What the manifest has of the gate, if that is what the gate would find now."""
    manifest = read_manifest(repository / MANIFEST)
    judged = manifest.get("precision") or {}
    found = judged.get("gate") or {}
    if not found.get("passed") or judged.get("speech") != fingerprint(speech):
        return None
    if found.get("thresholds") != Thresholds.of(GraphPrecision(found["precision"])).as_dict():
        return None
    graph = repository / MODEL
    described = manifest.get("files", {})
    files = [graph, *weights_files(graph), reference, *weights_files(reference)]
    if any(described.get(str(MODEL.with_name(path.name))) != describe_file(path) for path in files):
        return None
    return dict(found)


@contextmanager
def installed_plan(plan: Path, beside: Subject) -> Iterator[Subject]:
    """A plan on the GPU that is here, as a stage of ``shrota export check --stages``.

    Args:
        plan: with the ``plan.json`` that `shrota export tensorrt` writes beside it.
        beside: the stage before it.

    Raises:
        PlanError: there is no plan, its description is broken, or it does not run here.
    """
    description = read_manifest(plan.with_name(PLAN_DESCRIPTION.name))
    try:
        profiles = [
            Profile(*(tuple(each["AUDIO"][key]) for key in ("min", "opt", "max"))) for each in description["profiles"]
        ]
        precision = Precision(description["precision"])
    except (KeyError, TypeError, ValueError):
        raise PlanError(
            f"{plan} has no whole {PLAN_DESCRIPTION.name} beside it: build it with `shrota export tensorrt`"
        ) from None
    try:
        runner = importlib.import_module(RUNNER)
        engine = runner.open_plan(plan.parent, plan.name)
    except ImportError:
        raise PlanError("plans are run by shrota-server: run `pip install ./server`") from None
    except Exception as error:  # the runner's, which share no base class with ours
        raise PlanError(f"{plan} does not run here: {error}") from error
    try:
        run = within_profiles(lambda audio, count: _run(engine, audio, count), profiles)
        yield beside.beside(f"the {precision} plan", run, _alike(precision))
    finally:
        engine.close()


def _alike(precision: Precision) -> GraphPrecision:
    """Whose thresholds it is judged by: tf32 has as many bits of mantissa as float16."""
    return GraphPrecision(str(Precision.FP16 if precision is Precision.TF32 else precision))


def within_profiles(engine: Engine, profiles: Sequence[Profile]) -> Engine:
    """An engine that takes any batch, by running as many rows at a time as a profile holds.

    Padding that makes a batch longer than the longest profile is cut off first: ``acoustic`` sends none so long.
    """
    longest = max(profile.largest[1] for profile in profiles)

    def run(audio: Floats, num_samples: Ints) -> tuple[Floats, Ints]:
        if audio.shape[1] > longest and num_samples.max() <= longest:
            audio = audio[:, :longest]
        samples = audio.shape[1]
        fitting = [p.largest[0] for p in profiles if p.least[1] <= samples <= p.largest[1]]
        rows = max(fitting, default=len(audio))
        parts = [
            engine(audio[start : start + rows], num_samples[start : start + rows])
            for start in range(0, len(audio), rows)
        ]
        return np.concatenate([part[0] for part in parts]), np.concatenate([part[1] for part in parts])

    return run


def _why_not(request: Request) -> str | None:
    """Why a plan cannot be run here; None if it can."""
    if request.gpu is None:
        return "the machine that built it has no GPU"
    if request.targets and request.gpu.compute_capability not in request.targets:
        return f"it was built for compute capability {', '.join(request.targets)} on a machine with {request.gpu}"
    try:
        importlib.import_module(RUNNER)
    except ImportError:
        return "shrota-server, which runs plans, is not installed on the machine that built it"
    return None


def _open(request: Request, plan: Path) -> Any:
    runner = importlib.import_module(RUNNER)
    try:
        return runner.PlanEngine(request.flavour.load(), runner.CudaDevice(0), plan)
    except Exception as error:  # the runner's, which share no base class with ours
        raise PlanError(f"the new plan does not run here and was not installed: {error}") from error


def _run(engine: Any, audio: Floats, num_samples: Ints) -> tuple[Floats, Ints]:
    try:
        outputs = engine.run({"AUDIO": audio, "NUM_SAMPLES": num_samples}, ["LOG_PROBS", "NUM_FRAMES"])
    except Exception as error:
        raise PlanError(f"the plan fails at a batch of {audio.shape}: {error}") from error
    return outputs["LOG_PROBS"], outputs["NUM_FRAMES"]
