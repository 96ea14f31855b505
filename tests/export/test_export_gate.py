"""The gate: what it lets pass, what it refuses, and what it says."""

import json
import re
import warnings
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from shrota_decoder.greedy import decode
from shrota_decoder.vocabulary import Vocabulary as DecoderVocabulary
from shrota_export.cli import export
from shrota_export.errors import GateError, GateSettingError, GraphError, SpeechError
from shrota_export.gate import Report, Spoken, Subject, Thresholds, check, open_subject, read_speech
from shrota_export.gate.departure import first_departure
from shrota_export.gate.speech import cut, spread
from shrota_export.gate.stages import first_failure, walk
from shrota_export.gate.transcripts import greedy_text
from shrota_export.precision.emulation import emulate
from shrota_export.precision.kinds import Precision
from shrota_export.precision.mixed import to_mixed
from shrota_testing.checkpoints import TOKENS, make_audio
from shrota_testing.precision import (
    VOCABULARY,
    change_weight,
    drop_mask,
    load,
    outgrown_graph,
    speech,
    subject,
    tiny_graph,
)
from shrota_testing.windows import shorten_windows

Array = NDArray[Any]
FEED_FORWARD = "/layers.1/feed_forward/intermediate_dense/MatMul"


@pytest.fixture(autouse=True)
def windows(monkeypatch: pytest.MonkeyPatch) -> None:
    shorten_windows(monkeypatch)


@pytest.fixture(scope="module")
def reference() -> Subject:
    return subject("float32", load(tiny_graph()))


@pytest.fixture(scope="module")
def spoken(reference: Subject) -> list[Spoken]:
    return speech(reference)


def naive_fp16(graph: onnx.ModelProto) -> onnx.ModelProto:
    """Everything in float16, the way a converter does it that is given no further instructions."""
    from onnxruntime.transformers.float16 import convert_float_to_float16

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of constants that float16 does not hold
        return convert_float_to_float16(graph, keep_io_types=True, op_block_list=["Range"])


def test_a_graph_is_equal_to_itself(reference: Subject, spoken: list[Spoken]) -> None:
    report = check(subject("copy", load(tiny_graph())), reference, spoken)
    assert report.passed
    assert set(report.cases) == {"alone", "full batch", "padding", "shortest", "longest"}
    assert report.cases["alone"].largest == 0
    assert report.transcripts is not None
    assert report.transcripts.words.errors == 0
    assert report.transcripts.reference.words.edits.reference_length > 10
    report.raise_for_failures()


@pytest.mark.parametrize("precision", [Precision.FP16, Precision.BF16])
def test_half_precision_passes(reference: Subject, precision: Precision) -> None:
    report = check(subject("half", to_mixed(load(tiny_graph()), precision)), reference, speech())
    assert report.passed, report.lines()
    assert 0 < report.cases["alone"].mean < Thresholds.of(precision).mean_difference
    assert report.note.startswith(f"{precision} emulated")


def test_a_residual_stream_beyond_float16(spoken: list[Spoken]) -> None:
    """What ended the published attempts: fine in float32, garbage in float16."""
    outgrown = subject("float32", load(outgrown_graph()))
    unchanged = check(outgrown, subject("before", load(tiny_graph())), spoken)
    assert unchanged.passed, unchanged.lines()
    naive = check(subject("naive", naive_fp16(load(outgrown_graph()))), outgrown, spoken)
    assert not naive.passed
    with pytest.raises(GateError, match=r"naive \(fp16\) is refused: \d+ of \d+ frames hold NaN or infinity"):
        naive.raise_for_failures()
    assert naive.departure is not None
    assert "the first tensor that departs is /feature_projection/projection/" in naive.departure


def test_the_same_naive_conversion_of_a_tame_stream_is_not_garbage(reference: Subject, spoken: list[Spoken]) -> None:
    """So it is the stream that the test above is about."""
    report = check(subject("naive", naive_fp16(load(tiny_graph()))), reference, spoken)
    assert all(not found.broken for found in report.cases.values())
    assert report.cases["alone"].mean < 0.1


def test_a_corrupted_weight(reference: Subject, spoken: list[Spoken]) -> None:
    graph = load(tiny_graph())

    def corrupt(values: Array) -> Array:
        values[3, 5] += 2
        return values

    change_weight(graph, FEED_FORWARD, corrupt)
    report = check(subject("corrupt", graph), reference, spoken)
    with pytest.raises(GateError, match="differ on average") as caught:
        report.raise_for_failures()
    assert f"the first tensor that departs is {FEED_FORWARD}_output_0 (MatMul, layers.1)" in str(caught.value)
    assert str(caught.value).endswith("; nothing was installed")
    assert "\n" not in str(caught.value)


def test_a_dropped_mask_passes_alone_and_fails_in_a_batch(reference: Subject, spoken: list[Spoken]) -> None:
    graph = load(tiny_graph())
    drop_mask(graph)
    report = check(subject("unmasked", graph), reference, spoken)
    assert report.cases["alone"].largest < Thresholds().largest_difference
    assert report.invariance["padding"].largest > 0.1
    assert report.invariance["full batch"].largest > 0.1
    with pytest.raises(GateError, match="at full batch") as caught:
        report.raise_for_failures()
    assert "the first tensor that departs is /Mul_1_output_0 (Mul, graph)" in str(caught.value)  # mask x MASKED_SCORE


def test_shifted_tokens_in_the_graph(reference: Subject, spoken: list[Spoken]) -> None:
    graph = load(tiny_graph())
    change_weight(graph, "/head/MatMul", lambda values: np.roll(values, 1, axis=1))
    report = check(subject("shifted", graph), reference, spoken)
    assert any("best token changes" in failure.text for failure in report.failures)
    assert report.transcripts is not None
    assert report.transcripts.words.value > 0.5
    assert report.departure is not None
    assert "/head/MatMul_output_0" in report.departure


def test_shifted_tokens_in_the_vocabulary(reference: Subject, spoken: list[Spoken]) -> None:
    shifted = [*TOKENS[:5], *TOKENS[6:], TOKENS[5]]
    candidate = subject("shifted", load(tiny_graph()), replace(VOCABULARY, tokens=shifted))
    report = check(candidate, reference, spoken)
    texts = [failure.text for failure in report.failures]
    assert texts[0] == f"its vocabulary is another one: token 5 is {TOKENS[6]!r}, not {TOKENS[5]!r}"
    assert any(text.startswith("the word error rate rises by") for text in texts)
    assert report.cases["alone"].largest == 0


def test_random_weights_are_judged_by_log_probabilities_alone(reference: Subject) -> None:
    """Nothing that is said is heard: what tokens change means nothing."""
    texts = [replace(each, text="कुछ और कहा गया") for each in speech()]
    graph = load(tiny_graph())
    change_weight(graph, "/head/MatMul", lambda values: np.roll(values, 1, axis=1))
    loose = replace(Thresholds(), mean_difference=1e3, largest_difference=1e3)
    report = check(subject("shifted", graph), reference, texts, loose)
    assert report.passed
    assert "judged by log-probabilities and batch invariance only: the reference itself has" in "\n".join(
        report.lines()
    )
    assert "the words wrong, as with random weights" in str(report.as_dict()["tokens_not_judged_because"])
    assert not check(subject("shifted", graph), reference, texts).passed


def test_one_word_more_proves_nothing(reference: Subject, spoken: list[Spoken]) -> None:
    """An utterance of which one word is heard otherwise is let pass; two are not."""
    assert spoken[0].text is not None
    words = spoken[0].text.split()

    def errors(changed: int) -> bool:
        wrong = [*("x" for _ in words[:changed]), *words[changed:]]
        return _passes_with_text_errors(reference, spoken, " ".join(wrong))

    assert errors(0)
    assert errors(1)
    assert not errors(2)


def test_nan_on_either_side_fails(reference: Subject) -> None:
    from shrota_export.gate.compare import Difference
    from shrota_export.gate.judge import find_failures

    good = np.log(np.full((3, 4), 0.25, np.float32))
    bad = good.copy()
    bad[1, 2] = np.nan
    for row, expected in ((bad, good), (good, bad)):
        found = Difference()
        found.add("first", good, good)
        found.add("second", row, expected)
        assert (found.broken, found.largest, found.place) == (1, np.inf, "second, frame 1 of 3")
        for alone, elsewhere in (({"alone": found}, {}), ({}, {"padding": found})):
            failures = find_failures(
                reference,
                reference,
                cases=alone,
                invariance=elsewhere,
                transcripts=None,
                thresholds=Thresholds().changed(["mean_difference=inf", "invariance_mean=inf"]),
            )
            assert any("NaN or infinity" in failure.text for failure in failures)
    with pytest.raises(GateSettingError, match="has no number"):
        Thresholds().changed(["mean_difference=nan"])


@pytest.mark.parametrize(
    ("frames", "changed", "passed"),
    [(1, 1, True), (1_001, 26, True), (1_001, 27, False), (100_000, 1_616, True), (100_000, 1_617, False)],
)
def test_of_few_frames_more_may_change_by_chance(reference: Subject, frames: int, changed: int, passed: bool) -> None:
    from shrota_client.score import Score, score_utterance
    from shrota_export.gate.compare import Difference
    from shrota_export.gate.judge import find_failures
    from shrota_export.gate.transcripts import Transcripts

    said = Score((score_utterance("0", "नमस्ते दुनिया", "नमस्ते दुनिया"),))
    found = find_failures(
        reference,
        reference,
        cases={"shortest": Difference(frames=frames, changed=changed)},
        invariance={},
        transcripts=Transcripts(said, said),
        thresholds=Thresholds.of(Precision.INT8),  # 1.5 %
    )
    assert (found == []) is passed


def _passes_with_text_errors(reference: Subject, spoken: list[Spoken], heard: str) -> bool:
    from shrota_client.score import Score, score_utterance
    from shrota_export.gate.judge import find_failures
    from shrota_export.gate.transcripts import Transcripts

    assert spoken[0].text is not None
    scores = [Score((score_utterance("0", spoken[0].text, text),)) for text in (spoken[0].text, heard)]
    transcripts = Transcripts(*scores)
    thresholds = replace(Thresholds(), character_error_rate=1.0)
    return not find_failures(
        reference, reference, cases={}, invariance={}, transcripts=transcripts, thresholds=thresholds
    )


def test_an_engine_that_fails_or_drops_frames(reference: Subject, spoken: list[Spoken]) -> None:
    def fails(*_: object) -> tuple[Array, Array]:
        raise RuntimeError("out of\nmemory")

    with pytest.raises(GateError, match=r"plan fails: 0\.wav: out of memory"):
        check(reference.beside("plan", fails, Precision.FP16), reference, spoken)

    def drops(audio: Array, num_samples: Array) -> tuple[Array, Array]:
        log_probs, num_frames = reference.engine(audio, num_samples)
        return log_probs, num_frames - 1

    with pytest.raises(GateError, match=r"plan gives 73 frames of 23 tokens instead of 74 frames"):
        check(reference.beside("plan", drops, Precision.FP32), reference, spoken)


def test_an_engine_without_a_graph_is_judged_too(reference: Subject, spoken: list[Spoken]) -> None:
    def noisy(audio: Array, num_samples: Array) -> tuple[Array, Array]:
        log_probs, num_frames = reference.engine(audio, num_samples)
        return log_probs + np.float32(0.5), num_frames

    report = check(reference.beside("plan", noisy, Precision.FP16), reference, spoken)
    assert not report.passed
    assert report.departure is None
    assert report.cases["alone"].mean == pytest.approx(0.5)


def test_the_stages_name_the_one_that_is_to_blame(reference: Subject) -> None:
    graph = to_mixed(load(tiny_graph()), Precision.FP16)
    good = subject("fp16", graph)
    bad = subject("broken", naive_fp16(load(outgrown_graph())))
    steps = list(walk([reference, good, bad], speech()))
    assert [step.report.passed for step in steps] == [True, False]
    failed = first_failure(steps)
    assert failed is not None
    assert failed.line().startswith("  fp16 -> broken: ")
    assert "FAILED" in failed.line()


def test_the_first_departure_is_exact(reference: Subject) -> None:
    """Wherever the fault is, its tensor is found, not one behind it."""
    assert reference.model is not None
    batch = (make_audio(8000)[None], np.array([[8000]], np.int32))
    for name in ("/feature_projection/projection/MatMul", "/layers.0/attention/k_proj/MatMul", "/head/MatMul"):
        graph = load(tiny_graph())
        change_weight(graph, name, lambda values: values * 1.5)
        found = first_departure(reference.model, graph, batch, 1e-3)
        assert found is not None
        assert found.tensor == f"{name}_output_0"
        assert found.difference == pytest.approx(0.5, rel=0.01)
    assert first_departure(reference.model, load(tiny_graph()), batch, 1e-3) is None


def test_thresholds_by_name() -> None:
    assert Thresholds().changed(["mean_difference=0.5", "word_error_rate=0.01"]).mean_difference == 0.5
    with pytest.raises(GateSettingError, match="there is no threshold 'mean': give one of mean_difference, largest"):
        Thresholds().changed(["mean=1"])
    with pytest.raises(GateSettingError, match=r"write mean_difference=0\.01"):
        Thresholds().changed(["mean_difference"])


def test_windows() -> None:
    assert [window.size for window in cut(np.zeros(45 * 16000, np.float32), 16000)] == [320000, 320000, 80000]
    assert [window.size for window in cut(np.zeros(0, np.float32), 16000)] == [0]
    windows = [np.zeros(size, np.float32) for size in (5, 1, 4, 2, 3)]
    assert [window.size for window in spread(windows, 5)] == [1, 5, 2, 4, 3]
    assert sorted(window.size for window in spread(windows, 2)) == [1, 5]
    assert [window.size for window in spread(windows[:1], 3)] == [5]


def test_no_speech(reference: Subject, tmp_path: Path) -> None:
    with pytest.raises(SpeechError, match="name a manifest with --manifest"):
        read_speech(tmp_path / "manifest.jsonl", reference)
    with pytest.raises(SpeechError, match="it gives no frame"):
        check(reference, reference, [Spoken("short", (make_audio(399),), None)])


@given(path=st.lists(st.integers(0, len(TOKENS) - 1), max_size=60))
def test_greedy_text_is_the_decoders(path: list[int]) -> None:
    ids = np.array(path, np.int64)
    tokens = DecoderVocabulary(tuple(TOKENS), 0, TOKENS.index("ज"), frozenset({0, 1, 2, 3}), 0.02)
    log_probs = np.log(np.eye(len(TOKENS), dtype=np.float32)[ids] * 0.9 + 0.001).reshape(-1, len(TOKENS))
    assert greedy_text(ids, VOCABULARY) == decode(log_probs, 1.0, tokens).text


def test_the_receptive_field_is_found(reference: Subject) -> None:
    assert reference.receptive_field == 400


def test_the_command(tmp_path: Path, speech: Path, capsys: pytest.CaptureFixture[str]) -> None:
    paths = {}
    for name, graph in (("good", load(tiny_graph())), ("bad", load(tiny_graph()))):
        if name == "bad":
            drop_mask(graph)
        paths[name] = tmp_path / f"{name}.onnx"
        onnx.save(graph, paths[name])
    arguments = ["--against", str(paths["good"]), "--manifest", str(speech)]
    export.main(["check", str(paths["good"]), *arguments, "--output", str(tmp_path / "r.json")], standalone_mode=False)
    output = capsys.readouterr()
    assert "judged by log-probabilities and batch invariance only" in output.out
    assert output.err.endswith("passed\n")
    assert json.loads((tmp_path / "r.json").read_text(encoding="utf-8"))["passed"] is True
    with pytest.raises(GateError, match=re.escape(f"{paths['bad']} (fp32) is refused")):
        export.main(["check", str(paths["bad"]), *arguments], standalone_mode=False)
    assert "FAILED" in capsys.readouterr().out


def test_files_that_are_no_engine(tmp_path: Path) -> None:
    with pytest.raises(GraphError, match="there is no graph at"):
        open_subject(tmp_path / "missing.onnx")
    (tmp_path / "model.onnx").write_bytes(b"no graph")
    with pytest.raises(GraphError, match=r"cannot be read as an ONNX graph|is no engine"):
        open_subject(tmp_path / "model.onnx")


def test_report_is_json(reference: Subject, spoken: list[Spoken]) -> None:
    """Infinity, which JSON has not, too."""
    broken: Report = check(subject("naive", naive_fp16(load(outgrown_graph()))), reference, spoken, explain=False)
    content = json.loads(json.dumps(broken.as_dict(), allow_nan=False))
    assert content["from_reference"]["alone"]["largest"] is None
    assert content["from_reference"]["alone"]["frames_with_nan_or_infinity"] > 0


def test_onnx_runtime_hides_the_overflow_of_float16_on_a_cpu() -> None:
    """Why half precision is emulated here: 300 x 300 is more than float16 holds, and is let pass."""
    from onnx import TensorProto, helper, numpy_helper

    weights = [numpy_helper.from_array(np.array([[value]], np.float16), name) for name, value in (("a", 300), ("b", 1))]
    graph = helper.make_graph(
        [
            helper.make_node("Cast", ["x"], ["low"], to=TensorProto.FLOAT16),
            helper.make_node("MatMul", ["low", "a"], ["overflow"]),
            helper.make_node("MatMul", ["overflow", "b"], ["product"]),
            helper.make_node("Cast", ["product"], ["y"], to=TensorProto.FLOAT),
        ],
        "overflow",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, 1])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, [1, 1])],
        weights,
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)

    def run(model: onnx.ModelProto) -> float:
        session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
        return float(session.run(None, {"x": np.array([[300]], np.float32)})[0][0, 0])

    assert run(model) == 90000
    assert run(emulate(model)) == np.inf
