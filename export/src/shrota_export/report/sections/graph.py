"""What the ONNX graph consists of, as exported and after each optimisation."""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from shrota_client.pages.blocks import Block, Paragraph, Picture, Table, number, percent
from shrota_client.pages.drawing import colour, new_figure, style
from shrota_export.engines import ALL, LEVELS, NONE, engine_of, open_session, run_rows
from shrota_export.errors import ReportError
from shrota_export.progress import step
from shrota_export.report import passes
from shrota_export.report.apart import apart, release
from shrota_export.report.bare import count_bare
from shrota_export.report.fusions import FUSIONS
from shrota_export.report.material import Material, is_published
from shrota_export.report.operators import PURPOSES, count_operators, published
from shrota_export.report.reasons import reason_of
from shrota_export.report.timing import run_of, spread_text, take_turns

TITLE = "Graph"
ROUNDS = 7
RUNTIME_LEVELS = {"basic": LEVELS.ORT_ENABLE_BASIC, "extended": LEVELS.ORT_ENABLE_EXTENDED, "all": ALL}


@dataclass(frozen=True)
class Stage:
    """A graph on its way through the optimisations.

    Attributes:
        path: the graph.
        counts: its nodes by kind; of what ONNX Runtime makes of it, where ``level`` is above "none".
        level: of ONNX Runtime's own optimisations when it runs.
        what: what was done.
    """

    path: Path
    counts: Counter[str]
    level: Any
    what: str


def measure(material: Material, found: Mapping[str, Any]) -> dict[str, Any]:  # noqa: ARG001
    """Makes all stages, counts them, runs them by turns and compares what they give."""
    stages, failed = _stages(material)
    fused, not_fused, remarks = _fused(material)
    stages, failed = {**stages, **fused}, {**failed, **not_fused}
    batch = material.audio(material.seconds)
    engines = {name: engine_of(open_session(stage.path, level=stage.level)) for name, stage in stages.items()}
    outputs = {name: engine(*batch)[0] for name, engine in engines.items()}
    first = next(iter(stages))
    with step(f"run {len(stages)} graphs by turns"):
        times = take_turns({name: run_of(engine, batch) for name, engine in engines.items()}, ROUNDS)
    engines.clear()
    release()
    for stage in stages.values():
        passes.remove(stage.path)
    reference = run_rows(material.subject.engine, [batch[0][0]])[0]
    return {
        "seconds": material.seconds,
        "stages": {
            name: {
                "what": stage.what,
                "nodes": stage.counts.total(),
                "operators": dict(stage.counts.most_common()),
                "time": times[name].as_dict(),
                "difference": float(np.abs(outputs[name] - outputs[first]).max()),
                "difference_from_pytorch": float(np.abs(outputs[name][0] - reference).max()),
            }
            for name, stage in stages.items()
        },
        "failed": failed,
        "remarks": remarks,
        "bare": _bare(material) if is_published(material.config) else None,
    }


def _bare(material: Material) -> dict[str, dict[str, int]]:
    with step("export the bare model, to compare its operators with the published table"):
        return {name: dict(counts.most_common()) for name, counts in count_bare(material.folder).items()}


def _stages(material: Material) -> tuple[dict[str, Stage], dict[str, str]]:
    exported = material.folder / "parted.onnx"
    apart(passes.part, material.graph_path, exported)
    stages = {"exported": Stage(exported, _count(exported), NONE, "as torch.onnx.export writes it")}
    failed: dict[str, str] = {}
    folded = material.folder / "folded.onnx"
    try:
        with step("fold constants"):
            apart(passes.fold, exported, folded)
    except ReportError as error:  # whatever the folder raised; the others go on
        failed["constant folding"] = reason_of(error, 200)
    else:
        stages["constant folding"] = Stage(
            folded, _count(folded), NONE, "what does not depend on the input is computed once"
        )
    for name, level in RUNTIME_LEVELS.items():
        path = material.folder / f"level-{name}.onnx"
        with step(f"ONNX Runtime's level {name}"):
            open_session(exported, level=level, optimized=path)
            counts = _count(path)
            passes.remove(path)
        stages[f"ONNX Runtime, {name}"] = Stage(exported, counts, level, f"ONNX Runtime's optimisations, level {name}")
    return stages, failed


def _count(path: Path) -> Counter[str]:
    return count_operators(passes.read_light(path))


def _fused(material: Material) -> tuple[dict[str, Stage], dict[str, str], dict[str, list[str]]]:
    stages: dict[str, Stage] = {}
    failed: dict[str, str] = {}
    remarks: dict[str, list[str]] = {}
    for name in FUSIONS:
        path = material.folder / f"fused-{len(stages)}.onnx"
        try:
            with step(f"transformer fusion: {name}"):
                remarks[name] = material.fuse(name, path)
        except ReportError as error:  # whatever the optimizer raised; the others go on
            failed[f"fused: {name}"] = reason_of(error, 200)
            continue
        stages[f"fused: {name}"] = Stage(path, _count(path), NONE, f"onnxruntime.transformers: {name}")
    return stages, failed, remarks


def show(data: dict[str, Any], found: Mapping[str, Any]) -> list[Block]:  # noqa: ARG001
    """The stages, the operators of each, the published table beside ours."""
    stages = data["stages"]
    exported = stages["exported"]
    base = exported["time"]["median"]
    blocks: list[Block] = [
        Table(
            ["graph", "nodes", "latency", "exported / this", "largest difference from the exported graph"],
            [
                [
                    name,
                    f"{stage['nodes']:,}",
                    spread_text(stage["time"]),
                    f"{base / stage['time']['median']:.2f}",
                    number(stage["difference"]),
                ]
                for name, stage in stages.items()
            ],
            f"Each optimisation: nodes, latency on {data['seconds']:g} s at batch 1 (median and quartiles of "
            f"{exported['time']['count']} rounds), difference in log-probability. The exported graph and the folded "
            "one run without ONNX Runtime's own optimisations; the fusions begin with what level basic gives, and "
            "run without further ones; that of attention needs that of skip-layer-norm",
        ),
        *[Paragraph(f"{name} could not be made: {reason}.") for name, reason in data["failed"].items()],
        Paragraph(fusion_text(data)),
        Picture("graph", "Nodes by kind after each optimisation, and the latency", _draw(data)),
        _operators(stages),
    ]
    if data["bare"]:
        blocks += published(exported["operators"], data["bare"])
    return blocks


def fusion_text(data: Mapping[str, Any]) -> str:
    """What the fusions found, from the counts."""
    stages, sentences = data["stages"], []
    basic = stages["ONNX Runtime, basic"]
    for name, fusion in FUSIONS.items():
        stage = stages.get(f"fused: {name}")
        if stage is None:
            continue
        made = {kind: stage["operators"].get(kind, 0) for kind in fusion.makes}
        found = ", ".join(f"{count} {kind}" for kind, count in made.items() if count)
        if found:
            gain = basic["time"]["median"] / stage["time"]["median"]
            sentences.append(
                f"Fusion of {name}: {found}; {basic['nodes']} nodes become {stage['nodes']}, {gain:.2f} times as "
                f"fast as level basic, outputs within {number(stage['difference'])} of the exported graph's."
            )
        else:
            why = "; ".join(data["remarks"].get(name, ())) or "the patterns that it looks for are not there"
            sentences.append(f"Fusion of {name}: nothing was fused ({why}).")
    return " ".join(sentences)


def _operators(stages: Mapping[str, Any]) -> Table:
    exported = stages["exported"]
    kinds = sorted(
        {kind for stage in stages.values() for kind in stage["operators"]},
        key=lambda kind: (-exported["operators"].get(kind, 0), kind),
    )
    shown = [name for name in stages if not name.startswith("fused: ") or name == "fused: all, rewritten"]
    return Table(
        ["operator", "purpose", *shown, "share of the exported"],
        [
            [
                kind,
                PURPOSES.get(kind, ""),
                *[f"{stages[name]['operators'].get(kind, 0):,}" for name in shown],
                percent(exported["operators"].get(kind, 0) / exported["nodes"]),
            ]
            for kind in kinds
        ],
        "Operators of the graphs",
    )


def _draw(data: dict[str, Any]) -> Any:
    stages = data["stages"]
    totals: Counter[str] = Counter()
    for stage in stages.values():
        totals.update(stage["operators"])
    kinds = [kind for kind, _ in totals.most_common(9)]
    figure = new_figure(10, 0.42 * len(stages) + 2.2)
    left, right = figure.subplots(1, 2, sharey=True, width_ratios=(3, 2))
    for place, stage in enumerate(stages.values()):
        start = 0
        for index, kind in enumerate(kinds):
            count = stage["operators"].get(kind, 0)
            left.barh(place, count, left=start, color=colour(index), label=kind if place == 0 else None)
            start += count
        left.barh(place, stage["nodes"] - start, left=start, color="#cccccc", label="others" if place == 0 else None)
        time = stage["time"]
        right.barh(place, 1000 * time["median"], color=colour(0))
        right.plot([1000 * time["low"], 1000 * time["high"]], [place, place], color="black", linewidth=1.5)
    left.set_yticks(range(len(stages)), list(stages))
    left.invert_yaxis()
    style(left, title="nodes", grid="x")
    style(right, title=f"latency on {data['seconds']:g} s of audio, ms (line: quartiles)", grid="x")
    figure.legend(fontsize=8, ncols=5, loc="outside lower center", frameon=False)
    return figure


def figures(data: dict[str, Any]) -> list[tuple[str, float | None, str]]:
    """For comparisons."""
    rows: list[tuple[str, float | None, str]] = []
    for name, stage in data["stages"].items():
        rows += [(f"{name}, nodes", stage["nodes"], ""), (f"{name}, latency", 1000 * stage["time"]["median"], "ms")]
    return rows
