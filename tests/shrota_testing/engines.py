"""A tiny engine under the engines' contract, whose output numpy can predict."""

from pathlib import Path

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

RECEPTIVE_FIELD = 400
STRIDE = 320


def tiny_weights(vocabulary_size: int = 68, seed: int = 0) -> NDArray[np.float32]:
    """Convolution kernels, [vocabulary_size, RECEPTIVE_FIELD], of the tiny engine."""
    random = np.random.default_rng(seed)
    return random.normal(0, 0.5, (vocabulary_size, RECEPTIVE_FIELD)).astype(np.float32)


def make_engine(
    nodes: list[onnx.NodeProto], constants: list[onnx.TensorProto], vocabulary_size: int
) -> onnx.ModelProto:
    """A graph under the engines' contract from the nodes between AUDIO [B, T] and LOG_PROBS [B, F, V].

    NUM_FRAMES is added, and the constant ``one_axis`` for whoever wants a channel axis.
    """
    counting = [
        helper.make_node("Sub", ["NUM_SAMPLES", "context"], ["inner"]),
        helper.make_node("Max", ["inner", "zero"], ["positive"]),
        helper.make_node("Div", ["positive", "stride"], ["NUM_FRAMES"]),
    ]
    shared = [
        numpy_helper.from_array(np.array([1], np.int64), "one_axis"),
        numpy_helper.from_array(np.array(STRIDE, np.int32), "stride"),
        numpy_helper.from_array(np.array(RECEPTIVE_FIELD - STRIDE, np.int32), "context"),
        numpy_helper.from_array(np.array(0, np.int32), "zero"),
    ]
    graph = helper.make_graph(
        [*nodes, *counting],
        "tiny",
        [
            helper.make_tensor_value_info("AUDIO", TensorProto.FLOAT, ["B", "T"]),
            helper.make_tensor_value_info("NUM_SAMPLES", TensorProto.INT32, ["B", 1]),
        ],
        [
            helper.make_tensor_value_info("LOG_PROBS", TensorProto.FLOAT, ["B", "F", vocabulary_size]),
            helper.make_tensor_value_info("NUM_FRAMES", TensorProto.INT32, ["B", 1]),
        ],
        [*constants, *shared],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)


def write_tiny_engine(path: Path, vocabulary_size: int = 68, seed: int = 0, ballast: int = 0) -> None:
    """Writes AUDIO [B, T], NUM_SAMPLES [B, 1] -> LOG_PROBS [B, F, V], NUM_FRAMES [B, 1]: one strided convolution.

    ``ballast`` further kernels are computed and thrown away: 4096 make it about as slow as a real small model.
    """
    kernels = tiny_weights(vocabulary_size, seed)[:, None, :]
    constants = [numpy_helper.from_array(kernels, "kernels")]
    nodes = [
        helper.make_node("Unsqueeze", ["AUDIO", "one_axis"], ["channel"]),
        helper.make_node("Conv", ["channel", "kernels"], ["scores"], strides=[STRIDE]),
        helper.make_node("Transpose", ["scores"], ["logits"], perm=[0, 2, 1]),
        helper.make_node("LogSoftmax", ["logits"], ["LOG_PROBS"], axis=-1),
    ]
    if ballast:
        constants += [
            numpy_helper.from_array(tiny_weights(ballast, 1)[:, None, :], "ballast_kernels"),
            numpy_helper.from_array(np.array(0, np.float32), "nothing"),
        ]
        nodes[1:3] = [
            nodes[1],
            helper.make_node("Conv", ["channel", "ballast_kernels"], ["ballast"], strides=[STRIDE]),
            helper.make_node("ReduceMax", ["ballast"], ["ballast_max"], axes=[1], keepdims=1),
            helper.make_node("Mul", ["ballast_max", "nothing"], ["ballast_zero"]),
            helper.make_node("Add", ["scores", "ballast_zero"], ["loaded_scores"]),
            helper.make_node("Transpose", ["loaded_scores"], ["logits"], perm=[0, 2, 1]),
        ]
    model = make_engine(nodes, constants, vocabulary_size)
    onnx.checker.check_model(model)
    onnx.save(model, str(path))


def tiny_log_probs(audio: NDArray[np.float32], vocabulary_size: int = 68, seed: int = 0) -> NDArray[np.float64]:
    """What the tiny engine gives for one utterance: [samples] -> [F, V]; it is local, so windows change nothing."""
    count = max(0, (audio.size - RECEPTIVE_FIELD) // STRIDE + 1)
    if count == 0:
        return np.zeros((0, vocabulary_size))
    frames = np.lib.stride_tricks.sliding_window_view(audio, RECEPTIVE_FIELD)[::STRIDE][:count].astype(np.float64)
    logits = frames @ tiny_weights(vocabulary_size, seed).astype(np.float64).T
    shifted = logits - logits.max(axis=1, keepdims=True)
    result: NDArray[np.float64] = shifted - np.log(np.exp(shifted).sum(axis=1, keepdims=True))
    return result
