"""ONNX Runtime's fusions of transformers: attention, skip-layer-norm, GELU."""

import contextlib
import io
import logging
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import onnx
from onnx import helper, numpy_helper

from shrota_export.precision.graphs import constants, values_of


@dataclass(frozen=True)
class Fusion:
    """Which fusions run.

    Attributes:
        switches: of onnxruntime.transformers' FusionOptions; all others are off.
        makes: the operators that come of them.
        rewrites: whether attention is first brought into the form that its fusion looks for.
    """

    switches: frozenset[str]
    makes: tuple[str, ...]
    rewrites: bool = False


_ATTENTION = frozenset({"enable_attention"})
_SKIP = frozenset({"enable_layer_norm", "enable_skip_layer_norm", "enable_bias_skip_layer_norm"})
"""The fusion of attention begins at the nodes that this one makes."""
_GELU = frozenset({"enable_gelu", "enable_bias_gelu"})
_ALL = ("Attention", "SkipLayerNormalization", "Gelu", "BiasGelu")
ALL_FUSIONS = "all, rewritten"
FUSIONS = {
    "GELU": Fusion(_GELU, ("Gelu", "BiasGelu")),
    "skip-layer-norm": Fusion(_SKIP, ("SkipLayerNormalization",)),
    "attention": Fusion(_ATTENTION | _SKIP, ("Attention",)),
    "attention, rewritten": Fusion(_ATTENTION | _SKIP, ("Attention",), rewrites=True),
    ALL_FUSIONS: Fusion(_ATTENTION | _SKIP | _GELU, _ALL, rewrites=True),
}


def fuse(model: onnx.ModelProto, fusion: Fusion, heads: int, width: int) -> tuple[onnx.ModelProto, list[str]]:
    """A graph after onnxruntime.transformers' fusions of BERT-like models.

    Args:
        model: a float32 graph, which is changed.
        fusion: what to fuse.
        heads: of attention.
        width: of the encoder.

    Returns:
        The graph, and why attention was not fused, in the fusion's own words.
    """
    from onnxruntime.transformers.fusion_options import FusionOptions  # noqa: PLC0415 - a second
    from onnxruntime.transformers.onnx_model_bert import BertOnnxModel  # noqa: PLC0415

    options = FusionOptions("bert")
    for switch in vars(options):
        if switch.startswith("enable_") and switch != "enable_shape_inference":
            setattr(options, switch, switch in fusion.switches)
    if fusion.rewrites:
        rewrite_attention(model)
    with _remarks() as remarks:
        made = BertOnnxModel(model, heads, width)
        made.optimize(options)
        made.topological_sort()
    return made.model, remarks


@contextlib.contextmanager
def _remarks() -> Iterator[list[str]]:
    """Keeps what the fusions print and log from the user, and collects what that of attention says."""
    found: list[str] = []

    class Collector(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            text = record.getMessage()
            if text.startswith("fuse_attention: ") and text.removeprefix("fuse_attention: ") not in found:
                found.append(text.removeprefix("fuse_attention: "))

    collector, nothing = Collector(), logging.NullHandler()
    loggers = [logging.getLogger(name) for name in ("fusion_attention", "onnxruntime.transformers.fusion_attention")]
    levels = [logger.level for logger in loggers]
    logging.getLogger().addHandler(nothing)  # otherwise warnings without a handler go to standard error
    for logger in loggers:
        logger.addHandler(collector)
        logger.setLevel(logging.DEBUG)
        logger.propagate = False
    try:
        with contextlib.redirect_stdout(io.StringIO()):
            yield found
    finally:
        logging.getLogger().removeHandler(nothing)
        for logger, level in zip(loggers, levels, strict=True):
            logger.removeHandler(collector)
            logger.setLevel(level)
            logger.propagate = True


def rewrite_attention(model: onnx.ModelProto) -> int:
    """Brings attention into the form of BERT's exports, which computes the same and which the fusion looks for.

    The mask Unsqueeze(Unsqueeze((1 - valid) * score)) becomes (1 - Unsqueeze(Unsqueeze(valid))) * score, and each
    scaling of scores by a factor a division, so that the fusion does not take it for the mask.

    Returns:
        How many scalings were rewritten; 0 if the mask was not there, and nothing was changed.
    """
    makers = {name: node for node in model.graph.node for name in node.output}
    chain = next(filter(None, (_mask_chain(node, makers) for node in model.graph.node)), None)
    if chain is None:
        return 0
    outer, inner, product, difference = chain
    valid, target, prefix = difference.input[1], outer.output[0], f"{outer.output[0]}/moved"
    moved = [
        helper.make_node("Unsqueeze", [valid, *inner.input[1:]], [f"{prefix}/1"], name=f"{prefix}/Unsqueeze_1"),
        helper.make_node("Unsqueeze", [f"{prefix}/1", *outer.input[1:]], [f"{prefix}/2"], name=f"{prefix}/Unsqueeze_2"),
        helper.make_node("Sub", [difference.input[0], f"{prefix}/2"], [f"{prefix}/3"], name=f"{prefix}/Sub"),
        helper.make_node("Mul", [f"{prefix}/3", product.input[1]], [target], name=f"{prefix}/Mul"),
    ]
    known = constants(model)
    scalings = {}
    for node in model.graph.node:
        scores = makers.get(node.input[0]) if node.op_type == "Add" and target in node.input else None
        if scores is not None and scores.op_type == "Mul" and scores.input[1] in known:
            divisor = numpy_helper.from_array(1 / values_of(known[scores.input[1]]), f"{scores.output[0]}/divisor")
            model.graph.initializer.append(divisor)
            scalings[scores.output[0]] = helper.make_node(
                "Div", [scores.input[0], divisor.name], scores.output, name=f"{scores.name}/Div"
            )
    nodes: list[onnx.NodeProto] = []
    for node in model.graph.node:
        nodes += moved if node.output[0] == target else [scalings.get(node.output[0], node)]
    del model.graph.node[:]
    model.graph.node.extend(nodes)
    return len(scalings)


def _mask_chain(node: onnx.NodeProto, makers: Mapping[str, onnx.NodeProto]) -> list[onnx.NodeProto] | None:
    """Unsqueeze, Unsqueeze, Mul, Sub: how the engine makes the mask; None if ``node`` is not the last of them."""
    chain = [node]
    for kind in ("Unsqueeze", "Mul", "Sub"):
        below = makers.get(chain[-1].input[0]) if chain[-1].input else None
        if node.op_type != "Unsqueeze" or below is None or below.op_type != kind:
            return None
        chain.append(below)
    return chain
