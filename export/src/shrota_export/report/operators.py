"""Operators of a graph: how many, what for, and beside those that were published."""

from collections import Counter
from collections.abc import Mapping

import onnx

from shrota_client.pages.blocks import Block, Paragraph, Table
from shrota_export.report.bare import OLD

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


def count_operators(model: onnx.ModelProto) -> Counter[str]:
    """Nodes by kind, those of subgraphs included."""
    counts: Counter[str] = Counter()
    graphs = [model.graph]
    while graphs:
        for node in graphs.pop().node:
            counts[node.op_type] += 1
            graphs += [attribute.g for attribute in node.attribute if attribute.type == onnx.AttributeProto.GRAPH]
    return counts


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
