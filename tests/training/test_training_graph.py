"""Kokoro's graph in PyTorch: what one step takes the place of gives what ONNX Runtime gives."""

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from shrota_training.kokoro_patterns import Norms, Products
from shrota_training.kokoro_steps import (
    mean_over_time,
    normalise_in_style,
    quantised_conv,
    quantised_matmul,
    round_own_part,
)
from shrota_training.onnx_operators import OPERATORS, Step, conv
from shrota_training.torch_onnx import TorchGraph

CHANNELS, TAPS, TIME = 4, 3, 30
CONV = {"strides": [1], "pads": [1, 1], "dilations": [1]}


def constants() -> dict[str, NDArray[Any]]:
    """An int8 convolution and an int8 matrix with their scales, and a bias."""
    random = np.random.default_rng(0)
    return {
        "w": random.integers(-127, 128, (CHANNELS, CHANNELS, TAPS)).astype(np.int8),
        "w_zero": np.array(0, np.int8),
        "w_scale": np.array(0.013, np.float32),
        "bias": random.normal(size=CHANNELS).astype(np.float32),
        "shape": np.array([1, -1, 1], np.int64),
        "m": random.integers(0, 255, (TIME, 5)).astype(np.uint8),
        "m_zero": np.array(121, np.uint8),
        "m_scale": random.uniform(0.005, 0.02, 5).astype(np.float32),
    }


def quantised_graph() -> onnx.ModelProto:
    """Return an int8 convolution of x with a bias, and an int8 product of it, as Kokoro's quantiser wrote them."""
    node = helper.make_node
    nodes = [
        node("DynamicQuantizeLinear", ["x"], ["xq", "xs", "xz"]),
        node("ConvInteger", ["xq", "w", "xz", "w_zero"], ["ci"], **CONV),
        node("Mul", ["xs", "w_scale"], ["bias_scale"]),
        node("Div", ["bias", "bias_scale"], ["bias_tmp"]),
        node("Floor", ["bias_tmp"], ["bias_floor"]),
        node("Cast", ["bias_floor"], ["bias_int"], to=TensorProto.INT32),
        node("Reshape", ["bias_int", "shape"], ["bias_row"]),
        node("Add", ["ci", "bias_row"], ["sum"]),
        node("Cast", ["sum"], ["sum_float"], to=TensorProto.FLOAT),
        node("Mul", ["sum_float", "bias_scale"], ["y"]),
        node("DynamicQuantizeLinear", ["y"], ["yq", "ys", "yz"]),
        node("MatMulInteger", ["yq", "m", "yz", "m_zero"], ["mi"]),
        node("Cast", ["mi"], ["mi_float"], to=TensorProto.FLOAT),
        node("Mul", ["ys", "m_scale"], ["mi_scale"]),
        node("Mul", ["mi_float", "mi_scale"], ["z"]),
    ]
    given = [numpy_helper.from_array(array, name) for name, array in constants().items()]
    x, y, z = (helper.make_tensor_value_info(name, TensorProto.FLOAT, None) for name in "xyz")
    graph = helper.make_graph(nodes, "quantised", [x], [y, z], initializer=given)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)


def test_quantised_products_are_found_and_give_what_onnx_runtime_gives_for_each_row_alone() -> None:
    model, values = quantised_graph(), constants()
    found = Products(model.graph).found
    assert set(found) == {"y", "z"}
    conv_found, matmul_found = found["y"], found["z"]
    assert (conv_found.activation, conv_found.weight, conv_found.zero) == ("x", "w", "w_zero")
    assert (conv_found.scale, conv_found.bias) == ("w_scale", "bias")
    assert (matmul_found.activation, matmul_found.weight, matmul_found.zero) == ("y", "m", "m_zero")
    assert (matmul_found.scale, matmul_found.bias) == ("m_scale", None)
    x = (
        torch.randn(2, CHANNELS, TIME, generator=torch.Generator().manual_seed(0))
        * torch.tensor([1.0, 9.0])[:, None, None]
    )
    weight = (torch.from_numpy(values["w"]).float() - float(values["w_zero"])) * float(values["w_scale"])
    matrix = (torch.from_numpy(values["m"]).float() - float(values["m_zero"])) * torch.from_numpy(values["m_scale"])
    y = quantised_conv([x, weight, torch.from_numpy(values["bias"])], CONV)
    z = quantised_matmul([y, matrix], {})
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    for row in range(2):
        expected_y, expected_z = session.run(["y", "z"], {"x": x[row : row + 1].numpy()})
        # the bias was rounded down to a step of both scales: less than 0.001 here
        np.testing.assert_allclose(y[row].numpy(), expected_y[0], atol=2e-3)
        np.testing.assert_allclose(z[row].numpy(), expected_z[0], atol=0.02 * float(z[row].abs().max()))


def steps_of_a_norm(*, snake: bool) -> list[Step]:
    """The steps that a normalisation in style has in the graph, and those of the snake activation behind it."""
    written = [
        (mean_over_time, ["x", "axes", "share"], "mean"),
        (OPERATORS["Sub"], ["x", "mean"], "centred"),
        (OPERATORS["Mul"], ["centred", "centred"], "squares"),
        (mean_over_time, ["squares", "axes", "share"], "variance"),
        (OPERATORS["Add"], ["variance", "epsilon"], "safe"),
        (OPERATORS["Sqrt"], ["safe"], "root"),
        (OPERATORS["Div"], ["centred", "root"], "normed"),
        (OPERATORS["Mul"], ["gain", "normed"], "scaled"),
        (OPERATORS["Add"], ["scaled", "shift"], "out"),
        (OPERATORS["Mul"], ["frequency", "out"], "phase"),
        (OPERATORS["Sin"], ["phase"], "sine"),
        (OPERATORS["Pow"], ["sine", "two"], "square"),
        (OPERATORS["Mul"], ["inverse", "square"], "weighted"),
        (OPERATORS["Add"], ["out", "weighted"], "snake"),
    ]
    return [(operator, False, inputs, [output], {}) for operator, inputs, output in written[: None if snake else 9]]


@pytest.mark.parametrize("snake", [False, True])
def test_a_normalisation_in_style_is_found_and_is_what_its_steps_compute(snake: bool) -> None:
    steps = steps_of_a_norm(snake=snake)
    norms = Norms(steps)
    found = [norms.find(step) for step in steps if step[0] is OPERATORS["Div"]]
    inputs = ["x", "epsilon", "gain", "shift", *(["frequency", "inverse"] if snake else [])]
    assert found == [(inputs, "snake" if snake else "out")]
    values = {
        "x": torch.randn(2, 3, 20), "axes": torch.tensor([2]), "share": torch.tensor([1.0, 0.55]),
        "epsilon": torch.tensor(1e-5), "gain": torch.rand(2, 3, 1), "shift": torch.rand(2, 3, 1),
        "frequency": torch.rand(1, 3, 1), "inverse": torch.rand(1, 3, 1), "two": torch.tensor(2.0),
    }  # fmt: skip
    for operator, _, taken, [output], attributes in steps:
        values[output] = operator([values[name] for name in taken], attributes)
    result = normalise_in_style(
        values["x"],
        values["share"],
        values["epsilon"],
        (values["gain"], values["shift"]),
        (values["frequency"], values["inverse"]) if snake else None,
    )
    torch.testing.assert_close(result, values["snake" if snake else "out"], atol=1e-5, rtol=1e-4)


def test_a_normalisation_whose_result_others_use_too_is_left_alone() -> None:
    other: Step = (OPERATORS["Add"], False, ["normed", "x"], ["other"], {})
    steps = [*steps_of_a_norm(snake=False), other]
    norms = Norms(steps)
    assert [norms.find(step) for step in steps if step[0] is OPERATORS["Div"]] == [None]


def test_a_convolution_of_a_shorter_row_sees_zeros_behind_its_end() -> None:
    x, weight = torch.randn(2, CHANNELS, TIME), torch.randn(CHANNELS, CHANNELS, TAPS)
    together = conv([round_own_part(x, torch.tensor([1.0, 0.5])), weight], CONV)
    alone = quantised_conv([x[1:, :, : TIME // 2], weight], CONV)
    torch.testing.assert_close(together[1:, :, : TIME // 2], alone, atol=1e-5, rtol=1e-5)


def test_another_graph_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "other.onnx"
    onnx.save(quantised_graph(), str(path))
    with pytest.raises(ValueError, match="not the graph of Kokoro-82M"):
        TorchGraph(path, "cpu")
