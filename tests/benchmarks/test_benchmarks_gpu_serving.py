"""``python -m benchmarks.gpu_serving``: what is reckoned, and its page, without a GPU."""

import json
import os
import time
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from benchmarks.gpu_run import LIKE, describe_shape
from benchmarks.gpu_serving import page
from benchmarks.gpu_serving.__main__ import ServingRun, default_output, main
from benchmarks.gpu_serving.bars import Bar, all_in_one, bars
from benchmarks.gpu_serving.costs import ATTENTION, EXTRACTOR, PRODUCTS, WHOLE, costs
from benchmarks.gpu_serving.engines import REFERENCE
from benchmarks.gpu_serving.kernels import (
    ATTENTION as ATTENTION_KERNELS,
)
from benchmarks.gpu_serving.kernels import (
    CONVOLUTION,
    COPIES,
    ENCODER,
    NORMS,
    PROJECTION,
    REST,
    Kernel,
    _of_trace,
    busy_us,
    kind_of,
    stages_of,
    summary,
)
from benchmarks.gpu_serving.kernels import (
    EXTRACTOR as EXTRACTOR_STAGE,
)
from benchmarks.gpu_serving.kernels import (
    PRODUCTS as PRODUCT_KERNELS,
)
from benchmarks.gpu_serving.order import Configuration, Order, parse_configuration
from benchmarks.gpu_serving.served import ENGINE, ENSEMBLE, EQUAL, MIXED, asks, cut, make_copy, mixed_lengths
from benchmarks.gpu_serving.watch import Moment, Watch, gpu_memory_mib, gpus, processors
from shrota_client.configuration import read_configuration
from shrota_export.errors import ExportError, GateSettingError
from shrota_export.random_checkpoint import Shape, make_config


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("nvjet_hsh_128x256_64x4_2x1_v_bz_coopB_bias_TNT", PRODUCT_KERNELS),
        ("sm90_xmma_gemm_e4m3e4m3_f16f32_f32_tn_n_tilesize128x128x128", PRODUCT_KERNELS),
        ("void cutlass::Kernel2<cutlass_80_tensorop_f16_s16816gemm_relu_f16_128x128_32x4_nn_align8>", PRODUCT_KERNELS),
        ("void cublasLt::splitKreduce_kernel<32, 16, int, float>", PRODUCT_KERNELS),
        (
            "void pytorch_flash::flash_fwd_kernel<pytorch_flash::Flash_fwd_kernel_traits<64, cutlass::half_t>>",
            "attention",
        ),
        ("cudnn_generated_fort_native_sdpa_sm90_flash_fprop_wgmma_f16", ATTENTION_KERNELS),
        ("sm90_xmma_fprop_implicit_gemm_bf16bf16_bf16f32", CONVOLUTION),
        ("void cudnn::engines_precompiled::nchwToNhwcKernel<__nv_bfloat16>", CONVOLUTION),
        ("first_convolution", CONVOLUTION),
        ("norm_gelu", NORMS),
        ("add_norm", NORMS),
        ("quantize", NORMS),
        ("void at::native::vectorized_elementwise_kernel<4, at::native::GeluCUDAKernelImpl>", NORMS),
        ("Memcpy DtoD (Device -> Device)", COPIES),
        ("void at::native::direct_copy_kernel_cuda<float>", COPIES),
        ("convert_types", REST),
        ("void at::native::(anonymous namespace)::softmax_warp_forward<float, float, float, 7, true>", REST),
        ("aten::addmm", PRODUCT_KERNELS),
        ("aten::mm", PRODUCT_KERNELS),
    ],
)
def test_kernels_are_told_apart_by_their_names(name: str, kind: str) -> None:
    assert kind_of(name) == kind


RUN = [
    Kernel("reduce_kernel", 0, 10),
    Kernel("first_convolution", 10, 100),
    Kernel("nvjet_hsh", 110, 200),
    Kernel("norm_gelu", 310, 50),
    Kernel("nvjet_hsh", 360, 20),
    Kernel("add_norm", 380, 30),
    Kernel("flash_fwd_kernel", 400, 60),  # begins while the one before runs
    Kernel("nvjet_hsh", 470, 40),
]


def test_parts_of_the_model_by_the_kernels_at_their_ends() -> None:
    assert stages_of(RUN) == [EXTRACTOR_STAGE] * 4 + [PROJECTION] + [ENCODER] * 3
    assert stages_of(RUN[:3]) is None
    assert stages_of([Kernel("nvjet_hsh", 0, 1)]) is None


def test_a_run_is_summed_up() -> None:
    found = summary(list(reversed(RUN)), 0.6)
    assert busy_us(RUN) == 500  # of 510: ten are double, and ten empty
    assert found["busy_ms"] == pytest.approx(0.5)
    assert found["idle_ms"] == pytest.approx(0.1)
    assert found["kinds"][PRODUCT_KERNELS] == pytest.approx(0.26)
    assert found["stages"][ENCODER][ATTENTION_KERNELS] == pytest.approx(0.06)
    assert found["top"][0] == {"name": "nvjet_hsh", "kind": PRODUCT_KERNELS, "calls": 3, "ms": pytest.approx(0.26)}


CONFIG = {
    "model_type": "wav2vec2",
    "conv_kernel": [4, 2],
    "conv_stride": [2, 2],
    "conv_dim": [8, 8],
    "hidden_size": 16,
    "intermediate_size": 32,
    "num_hidden_layers": 3,
    "num_conv_pos_embeddings": 4,
    "num_conv_pos_embedding_groups": 2,
    "vocab_size": 5,
}


def test_operations_and_bytes_as_by_hand() -> None:
    """Of 2 rows of 22 samples: 10 and 5 frames."""
    found = costs(CONFIG, 2, 22, "fp16")
    assert found[EXTRACTOR].flops == 2 * (2 * 4 * 1 * 8 * 10 + 2 * 2 * 8 * 8 * 5)
    assert found[ATTENTION].flops == 2 * 3 * (4 * 5 * 5 * 16)
    layer = 2 * 5 * (4 * 16 * 16 + 2 * 16 * 32)
    head = 2 * 5 * 16 * 5
    assert found[PRODUCTS].flops == 2 * (3 * layer + head)
    projection, position = 2 * 5 * 8 * 16, 2 * 4 * 8 * 16 * 6  # an even kernel gives a position more
    rest = 2 * (projection + position)
    assert found[WHOLE].flops == sum(found[name].flops for name in (EXTRACTOR, ATTENTION, PRODUCTS)) + rest
    assert found[EXTRACTOR].bytes == 2 * (2 * (22 + 10 * 8 + 10 * 8 + 5 * 8) + 4 * 8 + 2 * 8 * 8)
    assert found[ATTENTION].bytes == 3 * 2 * 10 * 4 * 16
    inputs, outputs, weights = 10 * (3 * 16 + 32), 10 * (3 * 16 + 16 + 32 + 16), 4 * 16 * 16 + 2 * 16 * 32
    head_bytes = 2 * (10 * 16 + 16 * 5) + 4 * 10 * 5
    assert found[PRODUCTS].bytes == 3 * 2 * (inputs + weights + outputs) + head_bytes
    eight = costs(CONFIG, 2, 22, "fp8")[PRODUCTS]
    assert eight.bytes == 3 * (inputs + weights + 2 * outputs) + head_bytes
    assert eight.flops == found[PRODUCTS].flops


def test_the_published_shape_has_as_many_operations_as_is_known() -> None:
    """32 x 10 s, 499 frames each: the encoder's 302 million weights twice a frame, and an extractor of 13 %."""
    found = costs(make_config(LIKE, Shape()), 32, 160_000, "bf16")
    assert found[PRODUCTS].flops / 1e12 == pytest.approx(2 * 32 * 499 * 302e6 / 1e12, rel=0.01)
    assert found[WHOLE].flops / 1e12 == pytest.approx(12.3, abs=0.05)
    assert found[EXTRACTOR].flops / found[WHOLE].flops == pytest.approx(0.13, abs=0.005)


def test_configurations_are_parsed() -> None:
    found = parse_configuration("fp8:2/3/320")
    assert found == Configuration("fp8", 2, 3, 320)
    assert found.name == "fp8 2/3, 320 s"
    assert found.on_two(3) == Configuration("fp8", 2, 3, 320, gpus=2, batchers=3)
    for text in ("fp8", "fp8:2/3", "int4:1/2/40", "fp16:0/2/40", "fp16:a/2/40"):
        with pytest.raises(GateSettingError, match="write fp16:1/3/320"):
            parse_configuration(text)


def order(output: Path, **changes: Any) -> Order:
    usual: dict[str, Any] = {
        "device": "cpu",
        "rows": 32,
        "batches": (1,),
        "seconds_of_audio": 10.0,
        "configurations": (),
        "concurrencies": (64, 128, 256, 512),
        "decoders": 3,
        "measure_s": 0.1,
        "load_s": 1.0,
        "perf_analyzer": None,
        "shape": Shape(),
        "output": output,
    }
    return Order(**{**usual, **changes})


def test_the_most_important_loads_come_first(tmp_path: Path) -> None:
    ranked = order(tmp_path).ranked_concurrencies()
    assert ranked == [256, 128, 512, 64]
    assert order(tmp_path, concurrencies=(8,)).ranked_concurrencies() == [8]
    found = asks(ranked)
    assert len(set(found)) == len(found)
    assert {(ask.model, ask.lengths, ask.shared_memory) for ask in found[:4]} == {
        (ENSEMBLE, EQUAL, "none"),
        (ENGINE, EQUAL, "none"),
        (ENSEMBLE, MIXED, "none"),
    }


def test_lengths_are_uniform_and_really_sent() -> None:
    lengths = mixed_lengths(63)
    assert sum(lengths) / 63 == pytest.approx(10.5)
    assert 1.0 < min(lengths) < 1.4
    assert 19.6 < max(lengths) < 20.0
    assert [clip.seconds for clip in cut([2.5, 0.5])] == [2.5, 0.5]


def test_a_copy_for_a_configuration(tmp_path: Path) -> None:
    from shutil import copytree, ignore_patterns

    from scripts.repository import EXPORTED, ROOT

    source = tmp_path / "source"
    copytree(ROOT / "model_repository", source, ignore=ignore_patterns(*EXPORTED))
    engine = source / "acoustic_torch" / "1"
    (engine / "engine.json").write_text('{"precision": "fp16", "heads": 4}', encoding="utf-8")
    (engine / "engine.safetensors").write_bytes(b"weights")
    text = (source / "acoustic" / "config.pbtxt").read_text(encoding="utf-8")
    make_copy(source, tmp_path / "copy", Configuration("fp8", 2, 3, 320), 5)
    copied = tmp_path / "copy" / "acoustic_torch"
    assert json.loads((copied / "1" / "engine.json").read_text(encoding="utf-8")) == {"precision": "fp8", "heads": 4}
    assert (copied / "1" / "engine.safetensors").samefile(engine / "engine.safetensors")
    assert read_configuration(copied / "config.pbtxt").instance_group[0].count == 2
    scheduler = read_configuration(tmp_path / "copy" / "acoustic" / "config.pbtxt")
    assert scheduler.parameters["engine_calls"].string_value == "3"
    assert (source / "acoustic" / "config.pbtxt").read_text(encoding="utf-8") == text
    assert json.loads((engine / "engine.json").read_text(encoding="utf-8"))["precision"] == "fp16"


def test_processors_while_there_is_load() -> None:
    moments = [
        Moment(0.0, {"tritonserver (1)": 0.0, "ctc_decoder_0_0 (2)": 0.0}, 0.0),
        Moment(1.0, {"tritonserver (1)": 0.1, "ctc_decoder_0_0 (2)": 0.0}, 1.0),  # it starts: no load yet
        Moment(2.0, {"tritonserver (1)": 2.1, "ctc_decoder_0_0 (2)": 0.5}, 4.0),
        Moment(3.0, {"tritonserver (1)": 4.1, "ctc_decoder_0_0 (2)": 1.5}, 7.0),
    ]
    assert processors(moments) == pytest.approx({"tritonserver": 2.0, "ctc_decoder_0_0": 0.75, "perf_analyzer": 3.0})
    assert processors(moments[:1]) == {}
    assert set(
        processors([Moment(0.0, {"a (1)": 0.0, "a (2)": 0.0}, 0), Moment(1, {"a (1)": 1.0, "a (2)": 1.0}, 0)])
    ) == {
        "a (1)",
        "a (2)",
        "perf_analyzer",
    }


def test_the_gpus_own_numbers() -> None:
    said = "0, 10, 900, 100, 1900\n0, 90, 3000, 600, 1700\n0, 96, 2000, 650, 1600\n1, [N/A], 0, 0, 0\n0, 5"
    assert gpus(said) == {
        "0": {"utilization_percent": 93.0, "memory_mib": 3000.0, "power_w": 625.0, "clock_mhz": 1650.0}
    }


def test_the_gpu_is_looked_at_meanwhile(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A program in the place of nvidia-smi."""
    program = tmp_path / "nvidia-smi"
    text = '#!/bin/sh\ncase "$1" in *utilization*) echo "0, 95, 4000, 650, 1700";; *) echo "0, 700";; esac\n'
    program.write_text(text, encoding="utf-8")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=":")
    monkeypatch.setattr("benchmarks.gpu_serving.watch.GPU_EVERY_S", 0.05)
    monkeypatch.setattr("benchmarks.gpu_serving.watch.EVERY_S", 0.05)
    with Watch(os.getpid(), gpu=True) as watch:
        time.sleep(0.5)
    found = watch.result()
    assert found["gpus"]["0"]["memory_mib"] == 4000.0
    assert "perf_analyzer" in found["processors"] or found["processors"] == {}  # this process may have done nothing
    assert gpu_memory_mib() == {"0": 700.0}


def test_kernels_of_a_trace() -> None:
    """What a GPU did, of all that PyTorch's trace has."""

    class Profiler:
        def export_chrome_trace(self, path: str) -> None:
            events = [
                {"cat": "cpu_op", "name": "aten::mm", "ts": 1, "dur": 9},
                {"cat": "kernel", "name": "nvjet_hsh", "ts": 5.5, "dur": 2.25},
                {"cat": "gpu_memcpy", "name": "Memcpy DtoD", "ts": 8, "dur": 1},
                {"name": "process_name", "ph": "M"},
            ]
            Path(path).write_text(json.dumps({"traceEvents": events}), encoding="utf-8")

    assert _of_trace(Profiler()) == [Kernel("nvjet_hsh", 5.5, 2.25), Kernel("Memcpy DtoD", 8.0, 1.0)]


def point(model: str, lengths: str, value: int, rate: float, p50: float) -> dict[str, Any]:
    return {
        "model": model,
        "lengths": lengths,
        "shared_memory": "none",
        "value": value,
        "audio_seconds_per_second": rate,
        "utterances_per_second": rate / 10,
        "p50_ms": p50,
        "p95_ms": 2 * p50,
        "p99_ms": 3 * p50,
        "batch_rows": 9.0,
        "padded_share": 0.01,
        "stable": True,
        "why_unstable": None,
        "others_share": 0.01,
        "models": {},
        "processors": {"acoustic_0_0": 0.9, "perf_analyzer": 3.0},
        "gpus": {"0": {"utilization_percent": 93.0, "memory_mib": 9000.0, "power_w": 600.0, "clock_mhz": 1700.0}},
    }


def served(precision: str, rate: float, gpus_used: int = 1) -> dict[str, Any]:
    configuration = Configuration(precision, 1, 2, 320, gpus_used)
    points = [
        point(ENSEMBLE, EQUAL, 1, 1500.0, 6.0),
        point(ENGINE, EQUAL, 1, 2500.0, 4.0),
        point(ENSEMBLE, EQUAL, 256, rate, 200.0),
        point(ENSEMBLE, MIXED, 256, 0.95 * rate, 210.0),
        {**dict.fromkeys(("model", "lengths", "shared_memory"), "asr"), "value": 512, "failed": "refused"},
    ]
    memory = {"before": {"0": 700.0}, "ready": {"0": 8000.0}}
    return {"configuration": configuration.name, **vars(configuration), "points": points, "memory_mib": memory}


def results(**changes: Any) -> dict[str, Any]:
    timed = {"median_ms": 52.0, "lower_quartile_ms": 51.0, "upper_quartile_ms": 53.0, "least_ms": 50.0, "runs": 9}
    shape = describe_shape(Shape())
    kernels = {"precision": "fp16", **summary(RUN, 30.0)}
    return {
        "date": "today",
        "command": "python -m benchmarks.gpu_serving",
        "shape": shape,
        "config": make_config(LIKE, Shape()),
        "machine": {
            "gpu": {"name": "NVIDIA H200", "driver": "580"},
            "cuda": "13.0",
            "processor": "one",
            "python": "3.12",
            "versions": {"torch": "2.11"},
        },
        "device": "cuda",
        "rows": 32,
        "seconds_of_audio": 10.0,
        "cores": 16,
        "gpus": 1,
        "memory_before_mib": {"0": 4.0},
        "steps": {
            "batch 32": {
                "rows": 32,
                "seconds_of_audio": 10.0,
                "engines": {REFERENCE: {**timed, "utterances_per_second": 600.0}},
            },
            "batch 1": {
                "rows": 1,
                "seconds_of_audio": 10.0,
                "engines": {REFERENCE: {**timed, "median_ms": 12.0, "utterances_per_second": 80.0}},
            },
            "batches": {
                "points": [{"engine": REFERENCE, "rows": 1, "median_ms": 12.0, "audio_seconds_per_second": 833.0}]
            },
            "peaks": {
                "peaks": {
                    "fp16": {"value": 700.0, "how": "torch.matmul"},
                    "fp8": {"failed": "no such kernel", "how": "torch._scaled_mm"},
                    "bandwidth": {"value": 4.0, "how": "a copy"},
                }
            },
            "kernels": {"rows": 32, "seconds_of_audio": 10.0, "engines": {"acoustic_torch fp16": kernels}},
            "triton fp16 1/2, 320 s": served("fp16", 10_000.0),
            "triton fp8 1/2, 320 s": served("fp8", 13_000.0),
            "triton fp8 1/2, 320 s on 2 GPUs": served("fp8", 25_000.0, 2),
            "onnxruntime": {"left_out": "3 s left"},
            "triton fp16 2/3, 320 s": {"error": "StartError: no memory"},
        },
        **changes,
    }


def test_bars() -> None:
    found = {
        (bar.precision, bar.what.split(":")[0].split(",")[0], index): bar for index, bar in enumerate(bars(results()))
    }
    judged = [(bar.precision, bar.holds) for bar in found.values()]
    assert judged == [("fp16", False), ("fp16", False), ("fp16", True), ("fp16", True), *[("fp8", True)] * 5]
    fp8 = [bar for bar in found.values() if bar.precision == "fp8"]
    assert [bar.ratio for bar in fp8] == pytest.approx(
        [13_000 / (320 / 0.052), 12_350 / (320 / 0.052), 2.0, 3.0, 25_000 / (320 / 0.052)]
    )
    assert fp8[0].found == "13,000 (fp8 1/2, 320 s)"
    assert fp8[4].found.startswith("1.92 times: 25,000 (fp8 1/2, 320 s on 2 GPUs) over 13,000")
    assert all_in_one(results()) == ["fp8 1/2, 320 s"]


def test_a_trial_is_not_judged() -> None:
    assert {bar.holds for bar in bars(results(device="cpu"))} == {None}
    assert all_in_one(results(device="cpu")) == []
    assert bars(results(steps={})) == []
    nothing = {**served("fp16", 1.0), "points": [{**point(ENSEMBLE, EQUAL, 256, 1.0, 1.0), "failed": "refused"}]}
    assert bars(results(steps={"triton fp16": nothing}))[0] == Bar(
        bars(results())[0].what, "fp16", "not measured", None, None
    )


def test_the_page(tmp_path: Path) -> None:
    written = page.write(results(), tmp_path / "h200")
    text = written.read_text(encoding="utf-8")
    assert written == tmp_path / "h200.md"
    assert "| 13,000 (fp8 1/2, 320 s) | 2.11 | met |" in text
    assert "NOT met" in text
    assert "fp16 1/2, 320 s: 9,000 MiB, of which 700 before the server" in text
    assert "| onnxruntime | left out: 3 s left |" in text
    assert "| triton fp16 2/3, 320 s | StartError: no memory |" in text
    assert "failed: refused" in text
    for name in ("batches", "kernels", "roofline", "load"):
        assert f"](h200/{name}.png)" in text
        assert (tmp_path / "h200" / f"{name}.png").is_file()
    assert {path.suffix for path in (tmp_path / "h200").iterdir()} == {".png", ".html", ".json"}


def test_what_other_programs_took_is_told_with_where_it_was_too_much() -> None:
    found = results()
    assert "Other programs took at most 1.0 % of the processors during a step or a load." in page.heading(found)[2]
    found["steps"]["triton fp8 1/2, 320 s"]["points"][1]["others_share"] = 0.07
    found["steps"]["peaks"]["others_share"] = 0.02
    assert (
        "took at most 7.0 % of the processors during a step or a load, too much to trust what was measured there: over "
        "5.0 % during fp8 1/2, 320 s (1 of 4 loads); at most 2.0 % during all others."
    ) in page.heading(found)[2]
    loud = results(steps={"peaks": {"others_share": 0.5}, "kernels": {"others_share": None}})
    assert "there: over 5.0 % during peaks." in page.heading(loud)[2]
    assert "Other programs: not known." in page.heading(results(steps={}))[2]


def test_the_page_is_written_again_from_its_results(tmp_path: Path) -> None:
    page.write(results(), tmp_path / "h200")
    before = (tmp_path / "h200.md").read_text(encoding="utf-8")
    (tmp_path / "h200.md").unlink()
    done = CliRunner().invoke(main, ["--page", str(tmp_path / "h200" / "report.json")])
    assert done.exit_code == 0
    assert (tmp_path / "h200.md").read_text(encoding="utf-8") == before


def test_without_matplotlib_there_are_numbers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "matplotlib.figure", None)
    text = page.write(results(), tmp_path / "h200").read_text(encoding="utf-8")
    assert "Pictures need matplotlib" in text
    assert ".png" not in text


def test_roofline_points_are_operations_over_time() -> None:
    found = {each["part"]: each for each in page.roofline_points(results())}
    whole = costs(make_config(LIKE, Shape()), 32, 160_000, "fp16")[WHOLE]
    assert found[WHOLE]["tflops"] == pytest.approx(whole.flops / 30e-3 / 1e12)
    assert set(found) == {WHOLE, EXTRACTOR, ATTENTION, PRODUCTS}


def test_steps_of_an_earlier_run_are_kept(tmp_path: Path) -> None:
    wanted = order(tmp_path / "out")
    first = ServingRun(wanted, 60, "first", only=(), add=False)
    first.step("one", lambda: {"points": []})
    second = ServingRun(wanted, 60, "second", only=(), add=True)
    assert list(second.results["steps"]) == ["one"]
    assert second.results["command"] == "first` and `second"
    other = order(tmp_path / "out", rows=8)
    with pytest.raises(ExportError, match="another rows"):
        ServingRun(other, 60, "third", only=(), add=True)


def test_a_trial_goes_to_the_build_folder() -> None:
    assert default_output("cpu") == Path("build/gpu-serving")


TRIAL = (
    *("--device", "cpu", "--layers", "1", "--hidden-size", "32", "--heads", "4", "--conv-dim", "16", "--rows", "2"),
    *("--batches", "1,2", "--seconds-of-audio", "0.5", "--measure-seconds", "0.1", "--seconds", "200"),
)


def test_in_process_on_a_processor(tmp_path: Path) -> None:
    """All steps of this process, with the same code as on a GPU."""
    wanted = ("load engines", "batch", "kernels")
    only = [word for name in wanted for word in ("--only", name)]
    done = CliRunner().invoke(main, [*TRIAL, *only, "--add", "--output", str(tmp_path / "trial")])
    assert done.exit_code == 0, done.output
    content = json.loads((tmp_path / "trial" / "report.json").read_text(encoding="utf-8"))
    assert list(content["steps"]) == ["load engines", "batch 2", "batch 1", "batches", "kernels"]
    assert " --add --only 'load engines' --only batch --only kernels " in content["command"]
    assert not any(step.get("error") for step in content["steps"].values())
    assert content["steps"]["load engines"]["failed"] == {}
    engines = content["steps"]["batch 2"]["engines"]
    assert {REFERENCE, "acoustic_torch fp32", "acoustic_torch fp8, host to host"} <= set(engines)
    assert {each["rows"] for each in content["steps"]["batches"]["points"]} == {1, 2}
    kinds = content["steps"]["kernels"]["engines"]["acoustic_torch fp32"]["kinds"]
    assert kinds[PRODUCT_KERNELS] > 0
    text = (tmp_path / "trial.md").read_text(encoding="utf-8")
    assert "NOT the published shape" in text
    assert "no GPU" in text


@pytest.mark.triton
def test_through_triton_without_the_program(tmp_path: Path) -> None:
    """What fails is said on the page, with the last words of the log, and the command goes on."""
    program = tmp_path / "perf_analyzer"
    program.write_text("#!/bin/sh\necho no server >&2\nexit 99\n", encoding="utf-8")
    program.chmod(0o755)
    options = ["--only", "triton", "--configurations", "fp32:1/2/40", "--concurrency", "2", "--load-seconds", "1"]
    done = CliRunner().invoke(
        main, [*TRIAL, *options, "--perf-analyzer", str(program), "--output", str(tmp_path / "trial")]
    )
    assert done.exit_code == 0, done.output
    content = json.loads((tmp_path / "trial" / "report.json").read_text(encoding="utf-8"))
    step = content["steps"]["triton fp32 1/2, 40 s"]
    assert step["ready_s"] > 0
    assert {point["failed"] for point in step["points"]} == {"perf_analyzer ended with exit code 99: no server"}
    assert "failed: perf_analyzer ended" in (tmp_path / "trial.md").read_text(encoding="utf-8")
