"""Passes over graphs that hold no weights, and what runs in processes of its own."""

import os
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from numpy.typing import NDArray
from onnx import numpy_helper

from shrota_export.checkpoint import find_checkpoint
from shrota_export.engines import LEVELS, NONE, Floats, engine_of, open_session, shared_arena
from shrota_export.errors import ReportError
from shrota_export.precision.graphs import load_graph
from shrota_export.report.apart import apart, release
from shrota_export.report.fusions import ALL_FUSIONS, FUSIONS, fuse
from shrota_export.report.operators import count_operators
from shrota_export.report.passes import export, fold, fuse_file, make_whole, part, read_light
from shrota_testing.checkpoints import make_audio, write_checkpoint


@pytest.fixture(scope="module")
def exported(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A checkpoint's graph, large enough that weights lie beside it when it is parted."""
    folder = tmp_path_factory.mktemp("passes")
    export(find_checkpoint(str(write_checkpoint(folder / "checkpoint"))), folder / "graph.onnx")
    return folder / "graph.onnx"


def outputs(path: Path) -> Floats:
    batch = make_audio(16000)[None], np.array([[16000]], np.int32)
    return engine_of(open_session(path, level=NONE))(*batch)[0]


def constants(model: onnx.ModelProto) -> dict[str, NDArray[Any]]:
    return {tensor.name: numpy_helper.to_array(tensor) for tensor in model.graph.initializer}


def test_a_parted_graph_is_the_same_graph(exported: Path, tmp_path: Path) -> None:
    parted = tmp_path / "parted.onnx"
    part(exported, parted)
    assert parted.stat().st_size < exported.stat().st_size / 2
    whole, again = load_graph(exported), load_graph(parted)
    assert list(whole.graph.node) == list(again.graph.node)
    assert count_operators(read_light(parted)) == count_operators(whole)
    np.testing.assert_array_equal(outputs(parted), outputs(exported))
    fold(parted, tmp_path / "folded.onnx")
    assert count_operators(read_light(tmp_path / "folded.onnx")).total() < count_operators(whole).total()


@pytest.mark.parametrize("name", FUSIONS)
def test_fusions_of_a_graph_without_its_weights_give_what_those_of_the_whole_graph_give(
    exported: Path, tmp_path: Path, name: str
) -> None:
    basic, target = tmp_path / "basic.onnx", tmp_path / "fused.onnx"
    open_session(exported, level=LEVELS.ORT_ENABLE_BASIC, optimized=basic)
    expected, said = fuse(load_graph(basic), FUSIONS[name], 4, 32)
    before = Path.cwd()
    assert fuse_file(basic, target, name, 4, 32) == said
    assert Path.cwd() == before
    found = load_graph(target)
    assert list(found.graph.node) == list(expected.graph.node)
    values, wanted = constants(found), constants(expected)
    assert values.keys() == wanted.keys()
    for each, value in values.items():
        np.testing.assert_array_equal(value, wanted[each], err_msg=each)


def test_the_fused_graph_refers_to_the_weights_of_its_source_until_it_is_made_whole(
    exported: Path, tmp_path: Path
) -> None:
    basic, target, whole = (tmp_path / name for name in ("basic.onnx", "fused.onnx", "whole.onnx"))
    open_session(exported, level=LEVELS.ORT_ENABLE_BASIC, optimized=basic)
    fuse_file(basic, target, ALL_FUSIONS, 4, 32)
    weights = (tmp_path / "basic.onnx.data").stat().st_size
    assert target.stat().st_size + (tmp_path / "fused.onnx.data").stat().st_size < weights
    make_whole(target, whole)
    expected = outputs(target)
    for path in tmp_path.glob("*.data"):
        path.unlink()
    np.testing.assert_array_equal(outputs(whole), expected)


def test_what_runs_apart_is_another_process_and_says_what_went_wrong() -> None:
    assert apart(os.getpid) != os.getpid()
    with pytest.raises(ReportError, match=r"^cannot find it$"):
        apart(_fail, "cannot find it")
    with pytest.raises(ReportError, match="was killed"):
        apart(os._exit, 9)


def _fail(reason: str) -> None:
    raise ValueError(reason)


def test_sessions_that_share_an_arena_give_the_same(exported: Path) -> None:
    expected = outputs(exported)
    with shared_arena():
        np.testing.assert_array_equal(outputs(exported), expected)
        np.testing.assert_array_equal(outputs(exported), expected)
    np.testing.assert_array_equal(outputs(exported), expected)
    release()
