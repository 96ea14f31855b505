"""What the ONNX graph consists of, as exported and after each optimisation."""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime

from shrota_export.engines import run_rows
from shrota_export.precision.graphs import load_graph
from shrota_export.progress import step
from shrota_export.report.bare import OLD, count_bare
from shrota_export.report.blocks import Block, Paragraph, Picture, Table, number, percent
from shrota_export.report.drawing import colour, new_figure, style
from shrota_export.report.fusions import FUSIONS, fuse
from shrota_export.report.material import Material, is_published
from shrota_export.report.ort import open_session
from shrota_export.report.timing import run_of, spread_text, take_turns
from shrota_export.report.variants import run_graph

TITLE = "Graph"
ROUNDS = 7
PUBLISHED = {
    "Constant": 869,
    "Unsqueeze": 265,
    "Add": 227,
    "MatMul": 194,
    "Concat": 192,
    "Reshape": 192,
    "Transpose": 137,
    "Mul": 112,
    "LayerNormalization": 57,
}
"""The table that was published for IndicWav2Vec-Hindi's graph (this project's founding document), of 2,437 nodes."""
PUBLISHED_ALL = 2437
PUBLISHED_LAYERS = 24
OTHERS = "all others"
LEVELS = {
    "basic": onnxruntime.GraphOptimizationLevel.ORT_ENABLE_BASIC,
    "extended": onnxruntime.GraphOptimizationLevel.ORT_ENABLE_EXTENDED,
    "all": onnxruntime.GraphOptimizationLevel.ORT_ENABLE_ALL,
}
PURPOSES = {
    "MatMul": "products: projections, attention, feed-forward",
    "Gemm": "products with their bias",
    "FusedMatMul": "products with a transposition or a factor in them",
    "Add": "biases, residual connections, masks",
    "Mul": "scaling: attention, GELU, masks",
    "Div": "normalisation, GELU",
    "Erf": "inside GELU",
    "Gelu": "GELU as one node",
    "BiasGelu": "a bias and GELU as one node",
    "LayerNormalization": "normalisation over the width",
    "SkipLayerNormalization": "residual connection and normalisation as one node",
    "Softmax": "attention weights",
    "LogSoftmax": "log-probabilities",
    "Conv": "feature extractor, position embedding",
    "FusedConv": "a convolution and what follows it as one node",
    "Reshape": "heads of attention, shapes",
    "Transpose": "heads of attention; time and channels change places",
    "Constant": "fixed numbers and shapes",
    "Shape": "shapes that depend on the input",
    "Gather": "one length out of a shape",
    "Unsqueeze": "shapes",
    "Concat": "shapes",
    "Cast": "between types",
    "Slice": "cuts one end off",
    "Attention": "attention as one node",
    "MultiHeadAttention": "attention as one node, without its projections",
    "ReorderInput": "into blocks of channels",
    "ReorderOutput": "out of blocks of channels",
    "Sqrt": "normalisation",
    "Pow": "normalisation",
    "ReduceSum": "normalisation of the audio",
    "Identity": "nothing",
}


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


def count_operators(model: onnx.ModelProto) -> Counter[str]:
    """Nodes by kind, those of subgraphs included."""
    counts: Counter[str] = Counter()
    graphs = [model.graph]
    while graphs:
        for node in graphs.pop().node:
            counts[node.op_type] += 1
            graphs += [attribute.g for attribute in node.attribute if attribute.type == onnx.AttributeProto.GRAPH]
    return counts


def measure(material: Material, found: Mapping[str, Any]) -> dict[str, Any]:  # noqa: ARG001
    """Makes all stages, counts them, runs them by turns and compares what they give."""
    stages, failed = _stages(material)
    fused, not_fused, remarks = _fused(material)
    stages, failed = {**stages, **fused}, {**failed, **not_fused}
    batch = material.audio(material.seconds)
    engines = {name: run_graph(stage.path, stage.level) for name, stage in stages.items()}
    outputs = {name: engine(*batch)[0] for name, engine in engines.items()}
    first = next(iter(stages))
    with step(f"run {len(stages)} graphs by turns"):
        times = take_turns({name: run_of(engine, batch) for name, engine in engines.items()}, ROUNDS)
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
    none = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    exported = material.graph_path
    stages = {"exported": Stage(exported, count_operators(material.graph()), none, "as torch.onnx.export writes it")}
    failed: dict[str, str] = {}
    try:
        folded = fold_constants(material)
        stages["constant folding"] = Stage(
            folded, count_operators(load_graph(folded)), none, "what does not depend on the input is computed once"
        )
    except Exception as error:  # noqa: BLE001 - whatever the folder raises; the others go on
        failed["constant folding"] = " ".join(str(error).split())[:200]
    for name, level in LEVELS.items():
        path = material.folder / f"level-{name}.onnx"
        with step(f"ONNX Runtime's level {name}"):
            open_session(exported, level=level, optimized=path)
            counts = count_operators(onnx.load(path, load_external_data=False))
            for left in material.folder.glob(f"level-{name}.onnx*"):
                left.unlink()
        stages[f"ONNX Runtime, {name}"] = Stage(exported, counts, level, f"ONNX Runtime's optimisations, level {name}")
    return stages, failed


def _fused(material: Material) -> tuple[dict[str, Stage], dict[str, str], dict[str, list[str]]]:
    none = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    stages: dict[str, Stage] = {}
    failed: dict[str, str] = {}
    remarks: dict[str, list[str]] = {}
    for name, fusion in FUSIONS.items():
        try:
            with step(f"transformer fusion: {name}"):
                model, remarks[name] = fuse(
                    load_graph(material.basic_path),
                    fusion,
                    material.config["num_attention_heads"],
                    material.config["hidden_size"],
                )
                path = material.save(model, f"fused-{len(stages)}")
        except Exception as error:  # noqa: BLE001 - whatever the optimizer raises; the others go on
            failed[f"fused: {name}"] = " ".join(str(error).split())[:200]
            continue
        stages[f"fused: {name}"] = Stage(path, count_operators(model), none, f"onnxruntime.transformers: {name}")
    return stages, failed, remarks


def fold_constants(material: Material) -> Path:
    """The exported graph with onnxscript's constant folding, and without what nothing uses any more."""
    from onnxscript import optimizer  # noqa: PLC0415 - a second

    with step("fold constants"):
        graph = material.graph()
        optimizer.fold_constants(graph)
        optimizer.remove_unused_nodes(graph)
        return material.save(graph, "folded")


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


def published(ours: Mapping[str, int], bare: Mapping[str, Mapping[str, int]]) -> list[Block]:
    """The published table beside the bare model and our graph, and what explains the differences.

    Args:
        ours: operators of the exported graph.
        bare: those of transformers' model, by its way through attention.
    """
    columns = {"published": {**PUBLISHED, OTHERS: PUBLISHED_ALL - sum(PUBLISHED.values())}}
    for name, counts in {**{f"bare, attention {name}": each for name, each in bare.items()}, "ours": ours}.items():
        columns[name] = {kind: counts.get(kind, 0) for kind in PUBLISHED}
        columns[name][OTHERS] = sum(counts.values()) - sum(columns[name].values())
    rows = [[kind, *[f"{column[kind]:,}" for column in columns.values()]] for kind in (*PUBLISHED, OTHERS)]
    rows.append(["all", *[f"{sum(column.values()):,}" for column in columns.values()]])
    return [
        Table(
            ["operator", *columns],
            rows,
            "The published table beside the bare model of transformers, exported as ours is, and our graph",
        ),
        Paragraph(_explanation(ours, bare)),
    ]


def _explanation(ours: Mapping[str, int], bare: Mapping[str, Mapping[str, int]]) -> str:
    old = bare[OLD]
    same = [kind for kind in PUBLISHED if old.get(kind, 0) == PUBLISHED[kind]]
    without = sum(old.values()) - old.get("Identity", 0)
    more = ", ".join(f"{old.get(kind, 0) - ours.get(kind, 0)} {kind}" for kind in ("Constant", "Reshape", "Concat"))
    return (
        "With attention as transformers 4 wrote it, the bare model has just as many nodes as published of "
        f"{len(same)} of the {len(PUBLISHED)} kinds, and {without:,} in all without Identity, which stands for "
        f"weights that are equal to others ({PUBLISHED_ALL:,} were published). So the published table is that of the "
        f"bare model of that time, which put the heads into the batch: that is {more} more than in our graph. MatMul "
        "and LayerNormalization are the architecture's and equal everywhere. Our graph also holds what the bare one "
        "leaves to the caller: normalisation of the audio, the padding mask, the log-softmax; so it has "
        f"{ours.get('Add', 0) - old.get('Add', 0)} Add more."
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
