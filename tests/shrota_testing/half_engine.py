"""A tiny engine in mixed precision under the engines' contract: only its products are in half precision."""

from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from shrota_testing.engines import RECEPTIVE_FIELD, STRIDE, make_engine

WIDTH = 32


def write_half_engine(path: Path, kind: int = TensorProto.FLOAT16, vocabulary_size: int = 68) -> None:
    """Writes a strided convolution, a LayerNormalization, a matrix product and a log-softmax.

    ``kind`` is the type of convolution and product: FLOAT16, BFLOAT16, or FLOAT for the whole in float32.
    """
    random = np.random.default_rng(0)

    def weights(name: str, *shape: int) -> onnx.TensorProto:
        return numpy_helper.from_array(random.normal(0, 0.1, shape).astype(np.float32), name)

    constants = [
        weights("kernels_float", WIDTH, 1, RECEPTIVE_FIELD),
        weights("head_float", WIDTH, vocabulary_size),
        numpy_helper.from_array(np.ones(WIDTH, np.float32), "scale"),
        numpy_helper.from_array(np.zeros(WIDTH, np.float32), "bias"),
    ]
    nodes = [
        helper.make_node("Unsqueeze", ["AUDIO", "one_axis"], ["channel_float"]),
        _cast("channel_float", "channel", kind),
        _cast("kernels_float", "kernels", kind),
        helper.make_node("Conv", ["channel", "kernels"], ["scores"], name="conv", strides=[STRIDE]),
        helper.make_node("Transpose", ["scores"], ["rows"], perm=[0, 2, 1]),
        _cast("rows", "rows_float", TensorProto.FLOAT),
        helper.make_node("LayerNormalization", ["rows_float", "scale", "bias"], ["normal_float"], name="layer_norm"),
        _cast("normal_float", "normal", kind),
        _cast("head_float", "head", kind),
        helper.make_node("MatMul", ["normal", "head"], ["logits"], name="product"),
        _cast("logits", "logits_float", TensorProto.FLOAT),
        helper.make_node("LogSoftmax", ["logits_float"], ["LOG_PROBS"], axis=-1),
    ]
    onnx.save(make_engine(nodes, constants, vocabulary_size), str(path))


def _cast(source: str, target: str, kind: int) -> onnx.NodeProto:
    return helper.make_node("Cast", [source], [target], to=kind)
