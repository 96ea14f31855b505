"""Running a plan: the numbers, the profile of each shape, and memory that is taken once. TensorRT and GPU are fakes."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from shrota_tensorrt.engine import PlanEngine, PlanFileError, RunError, ShapeError
from shrota_testing import fake_tensorrt
from shrota_testing.engines import tiny_log_probs, write_tiny_engine
from shrota_testing.fake_tensorrt import FakeDevice, FakeTensorRT
from shrota_testing.utterances import noise_rows

SHORT = ((1, 400), (8, 2000), (16, 2000))
LONG = ((1, 2001), (2, 8000), (4, 8000))
OUTPUTS = ["LOG_PROBS", "NUM_FRAMES"]


@pytest.fixture
def plan(tmp_path: Path) -> Path:
    """The tiny engine, which the fake takes for a plan."""
    path = tmp_path / "model.plan"
    write_tiny_engine(path)
    return path


@pytest.fixture
def device() -> FakeDevice:
    return FakeDevice()


@pytest.fixture
def trt(device: FakeDevice) -> FakeTensorRT:
    return FakeTensorRT(device=device, profiles=[SHORT, LONG])


def inputs(rows: int, samples: int) -> dict[str, Any]:
    return {"AUDIO": noise_rows(rows, samples, seed=rows), "NUM_SAMPLES": np.full((rows, 1), samples, np.int32)}


def run(engine: PlanEngine, rows: int, samples: int) -> None:
    """Runs a batch and checks every row of it."""
    feeds = inputs(rows, samples)
    outputs = engine.run(feeds, OUTPUTS)
    for row, log_probs in zip(feeds["AUDIO"], outputs["LOG_PROBS"], strict=True):
        np.testing.assert_allclose(log_probs, tiny_log_probs(row), atol=2e-5)
    np.testing.assert_array_equal(outputs["NUM_FRAMES"], np.full((rows, 1), (samples - 400) // 320 + 1))


def test_the_numbers_are_those_of_the_graph(trt: FakeTensorRT, device: FakeDevice, plan: Path) -> None:
    engine = PlanEngine(trt, device, plan)
    assert sorted(engine.inputs) == ["AUDIO", "NUM_SAMPLES"]
    for rows, samples in ((1, 400), (16, 2000), (1, 2001), (4, 8000), (3, 1234), (1, 8000), (1, 400)):
        run(engine, rows, samples)


def test_each_shape_runs_in_its_profile(trt: FakeTensorRT, device: FakeDevice, plan: Path) -> None:
    engine = PlanEngine(trt, device, plan)
    for rows, samples, expected in ((16, 2000, [1, 0]), (4, 2001, [1, 1]), (1, 400, [2, 1]), (1, 8000, [2, 2])):
        run(engine, rows, samples)
        assert [context.runs for context in trt.contexts] == expected


def test_of_several_profiles_the_nearest_is_taken(device: FakeDevice, plan: Path) -> None:
    trt = FakeTensorRT(device=device, profiles=[((1, 400), (1, 8000), (4, 8000)), ((1, 400), (1, 1000), (4, 8000))])
    engine = PlanEngine(trt, device, plan)
    run(engine, 2, 1500)
    run(engine, 2, 7000)
    assert [context.runs for context in trt.contexts] == [1, 1]


def test_memory_is_taken_once_and_given_back(trt: FakeTensorRT, device: FakeDevice, plan: Path) -> None:
    engine = PlanEngine(trt, device, plan)
    taken = device.allocations
    assert taken == 1 + 4  # the activations and four tensors
    # the contexts share their block, which is as large as the larger of them needs
    assert {context.memory for context in trt.contexts} == {(next(iter(device.memory)), 2000)}
    for samples in (400, 2000, 8000):
        run(engine, 1, samples)
    assert device.allocations == taken
    engine.close()
    assert device.memory == {}


def test_outputs_that_nobody_wants_are_not_copied(trt: FakeTensorRT, device: FakeDevice, plan: Path) -> None:
    outputs = PlanEngine(trt, device, plan).run(inputs(1, 400), ["NUM_FRAMES"])
    assert outputs.keys() == {"NUM_FRAMES"}


def test_an_answer_stays_when_the_next_batch_runs(trt: FakeTensorRT, device: FakeDevice, plan: Path) -> None:
    engine = PlanEngine(trt, device, plan)
    first = engine.run(inputs(1, 2000), OUTPUTS)["LOG_PROBS"]
    before = first.copy()
    engine.run(inputs(2, 2000), OUTPUTS)
    np.testing.assert_array_equal(first, before)


def test_columns_of_a_larger_array(trt: FakeTensorRT, device: FakeDevice, plan: Path) -> None:
    feeds = inputs(2, 2000)
    wide = np.repeat(feeds["AUDIO"], 2, axis=1)
    outputs = PlanEngine(trt, device, plan).run({**feeds, "AUDIO": wide[:, ::2]}, OUTPUTS)
    np.testing.assert_allclose(outputs["LOG_PROBS"][1], tiny_log_probs(feeds["AUDIO"][1]), atol=2e-5)


@pytest.mark.parametrize(("rows", "samples"), [(17, 2000), (5, 2001), (1, 8001), (1, 399)])
def test_a_shape_beyond_all_profiles(
    trt: FakeTensorRT, device: FakeDevice, plan: Path, rows: int, samples: int
) -> None:
    message = rf"no profile of the plan holds .*AUDIO \[{rows}, {samples}\].* are \[1, \d+\] to"
    engine = PlanEngine(trt, device, plan)
    with pytest.raises(ShapeError, match=message):
        engine.run(inputs(rows, samples), OUTPUTS)
    run(engine, 1, 400)


def test_a_plan_of_another_version(trt: FakeTensorRT, device: FakeDevice, plan: Path) -> None:
    plan.write_bytes(b"a plan of another version")
    with pytest.raises(PlanFileError) as caught:
        PlanEngine(trt, device, plan)
    assert str(caught.value) == (
        f"{plan} cannot be run by this TensorRT on this GPU (Error Code 6: The engine plan file is not compatible with "
        "this version): run `shrota export tensorrt` here"
    )


def test_no_plan(trt: FakeTensorRT, device: FakeDevice, plan: Path) -> None:
    plan.unlink()
    with pytest.raises(PlanFileError, match=r"no engine at .*model\.plan: run `shrota export tensorrt`"):
        PlanEngine(trt, device, plan)


def test_too_little_memory_is_given_back(plan: Path) -> None:
    device = FakeDevice(capacity=100_000)
    trt = FakeTensorRT(device=device, profiles=[SHORT, LONG])
    with pytest.raises(PlanFileError, match=r"needs more GPU memory than is free .*lower batch_budget_seconds in"):
        PlanEngine(trt, device, plan)
    assert device.memory == {}


def test_a_run_that_fails_is_one_error(trt: FakeTensorRT, device: FakeDevice, plan: Path) -> None:
    engine = PlanEngine(trt, device, plan)
    trt.contexts[0].fails = True
    with pytest.raises(RunError, match="TensorRT failed: it does not say why"):
        engine.run(inputs(1, 400), OUTPUTS)
    trt.contexts[0].fails = False
    run(engine, 1, 400)


def test_tensorrt_has_what_the_engine_calls() -> None:
    """The fake promises no more than NVIDIA's interface has; TensorRT-RTX has that of TensorRT."""
    trt: Any = pytest.importorskip("tensorrt_rtx", reason="the package tensorrt-rtx is not installed")
    device = FakeDevice()
    fake = FakeTensorRT(device=device, profiles=[SHORT])
    classes = {trt.ICudaEngine: "_Engine", trt.IExecutionContext: "_Context", trt.Runtime: "_Runtime"}
    for real, name in classes.items():
        promised = {one for one in vars(getattr(fake_tensorrt, name)) if not one.startswith("_")}
        assert promised
        assert promised <= set(dir(real)), name
    assert {"num_io_tensors", "num_optimization_profiles"} <= set(dir(trt.ICudaEngine))
    assert trt.nptype(trt.DataType.FLOAT) is fake.nptype("tensor(float)")
    assert trt.nptype(trt.DataType.INT32) is fake.nptype("tensor(int32)")
    for kind, names in {
        "TensorIOMode": ("INPUT", "OUTPUT"),
        "ExecutionContextAllocationStrategy": ("USER_MANAGED",),
    }.items():
        assert all(hasattr(getattr(trt, kind), name) for name in names)
    assert {"ERROR", "INTERNAL_ERROR"} <= set(dir(trt.ILogger))
