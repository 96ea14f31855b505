"""Every family: the exported graph gives what Hugging Face gives, whatever surrounds an utterance."""

from pathlib import Path
from typing import NamedTuple

import numpy as np
import onnx
import pytest
import torch
from numpy.typing import NDArray
from transformers import Wav2Vec2FeatureExtractor

from shrota_export.engines import Engine, open_engine
from shrota_export.exporters import Exporter, export_graph
from shrota_export.graph.constants import MASKED_SCORE
from shrota_export.graph.engine import AcousticEngine, Target
from shrota_export.graph.normalization import AudioNormalizer, count_frames
from shrota_export.graph.wavlm import PositionBias
from shrota_export.speech import Utterance
from shrota_export.verification import reference_log_probs
from shrota_testing.checkpoints import FAMILIES, make_audio, make_model

LENGTHS = (16000, 401, 7777, 400, 12345)
Floats = NDArray[np.float32]


class Case(NamedTuple):
    """An exported family and what Hugging Face's model gives for each utterance alone."""

    engine: Engine
    utterances: list[Floats]
    references: list[Floats]


WIDE = {"conv_dim": [64] * 7}
CASES = [
    *((family, Target.CPU, {}) for family in FAMILIES),
    *((family, Target.GPU, {}) for family in FAMILIES),
    ("wav2vec2", Target.GPU, WIDE),
    ("wav2vec2 with group norm", Target.GPU, {**WIDE, "conv_kernel": (5, 4, 3, 3, 3, 2, 2)}),
    ("wav2vec2", Target.GPU, {**WIDE, "conv_kernel": (10, 3, 3, 3, 5, 1, 2)}),
    ("wav2vec2", Target.GPU, {"num_conv_pos_embeddings": 7}),
]
"""Wide convolutions are products of another form than narrow ones; kernels of 4 and 3; an odd one of positions."""


@pytest.fixture(scope="module", params=CASES, ids=lambda case: f"{case[0]}, {case[1]}{', other shape' * bool(case[2])}")
def case(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Case:
    family, target, changes = request.param
    model = make_model(family, **changes)
    extractor = Wav2Vec2FeatureExtractor(do_normalize=True)
    utterances = [make_audio(length, seed) for seed, length in enumerate(LENGTHS)]
    named = [Utterance(str(audio.size), audio) for audio in utterances]
    references = reference_log_probs(model, extractor, named)
    path = tmp_path_factory.mktemp("graph") / "model.onnx"
    engine = AcousticEngine(model, normalize=True, target=target).eval()
    onnx.save(export_graph(engine, path, Exporter.TORCHSCRIPT), path)
    return Case(open_engine(path), utterances, references)


def run(engine: Engine, rows: list[Floats], width: int | None = None, behind: float = 0.0) -> list[Floats]:
    """One batch, filled up with ``behind`` to ``width`` samples; log-probabilities [F, V] of each row's own frames."""
    audio = np.full((len(rows), width or max(row.size for row in rows)), behind, np.float32)
    for line, row in zip(audio, rows, strict=True):
        line[: row.size] = row
    log_probs, num_frames = engine(audio, np.array([[row.size] for row in rows], np.int32))
    assert num_frames.dtype == np.int32
    assert np.isfinite(log_probs).all()
    return [line[:count] for line, count in zip(log_probs, num_frames[:, 0], strict=True)]


def test_alone_it_equals_hugging_face(case: Case) -> None:
    for audio, reference in zip(case.utterances, case.references, strict=True):
        (row,) = run(case.engine, [audio])
        np.testing.assert_allclose(row, reference, atol=1e-4)


def test_the_reference_tells_frames_and_utterances_apart(case: Case) -> None:
    first = case.references[0]
    assert first.std(axis=0).max() > 0.1
    assert np.abs(first[1] - case.references[1][0]).max() > 0.1


@pytest.mark.parametrize("behind", [0.0, 1.0, -1e6, np.nan, np.inf], ids=str)
def test_what_lies_behind_the_end_does_not_matter(case: Case, behind: float) -> None:
    for audio, reference in zip(case.utterances, case.references, strict=True):
        (row,) = run(case.engine, [audio], width=16999, behind=behind)
        np.testing.assert_allclose(row, reference, atol=1e-4)


@pytest.mark.parametrize("order", [(0, 1, 2, 3, 4), (4, 3, 2, 1, 0), (2, 0), (1, 3), (2, 2, 1)], ids=str)
def test_neighbours_do_not_matter(case: Case, order: tuple[int, ...]) -> None:
    rows = run(case.engine, [case.utterances[index] for index in order])
    for row, index in zip(rows, order, strict=True):
        (alone,) = run(case.engine, [case.utterances[index]])
        np.testing.assert_allclose(row, alone, atol=1e-4)
        np.testing.assert_allclose(row, case.references[index], atol=1e-4)


def test_rows_too_short_for_a_frame_have_none_and_harm_nobody(case: Case) -> None:
    short = [make_audio(count) for count in (0, 1, 9, 10, 399)]
    rows = run(case.engine, [*short, case.utterances[0]])
    assert [len(row) for row in rows] == [0, 0, 0, 0, 0, 49]
    np.testing.assert_allclose(rows[-1], case.references[0], atol=1e-4)


def test_a_batch_of_nothing_but_padding_is_finite(case: Case) -> None:
    assert [len(row) for row in run(case.engine, [make_audio(0), make_audio(399)], width=8000)] == [0, 0]


def test_log_probabilities_sum_to_one(case: Case) -> None:
    (row,) = run(case.engine, [case.utterances[0]])
    np.testing.assert_allclose(np.exp(row.astype(np.float64)).sum(axis=1), 1, atol=1e-5)


@pytest.mark.parametrize(
    ("num_samples", "frames"), [(0, 0), (399, 0), (400, 1), (719, 1), (720, 2), (16000, 49), (320080, 1000)]
)
def test_frames_are_those_of_the_chain_of_convolutions(num_samples: int, frames: int) -> None:
    assert count_frames(torch.tensor([[num_samples]], dtype=torch.int32), 400, 320).item() == frames


@pytest.mark.parametrize("offset", [0.0, 0.9, 100.0])
def test_normalisation_is_exact_under_a_large_offset(offset: float) -> None:
    """E[x²] - E[x]² in float32 would be off by whole per cent at an offset of 100."""
    audio = (make_audio(160000) * 0.1 + np.float32(offset)).astype(np.float32)
    exact = audio.astype(np.float64)
    exact = (exact - exact.mean()) / np.sqrt(exact.var() + 1e-7)
    padded = torch.from_numpy(np.append(audio, np.ones(5000, np.float32)))[None]
    result = AudioNormalizer(normalize=True)(padded, torch.tensor([[160000]], dtype=torch.int32))[0].numpy()
    np.testing.assert_allclose(result[:160000], exact, atol=2e-5 * max(1.0, offset))
    assert not result[160000:].any()


class NormalizerAlone(torch.nn.Module):  # type: ignore[misc]
    """What the engine does to the waveform, with the inputs and outputs of an engine: [B, T, 1]."""

    def __init__(self) -> None:
        super().__init__()
        self.normalizer = AudioNormalizer(normalize=True)

    def forward(self, audio: torch.Tensor, num_samples: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """AUDIO [B, T], NUM_SAMPLES [B, 1] -> [B, T, 1], NUM_SAMPLES."""
        return self.normalizer(audio, num_samples).unsqueeze(2), num_samples + 0


@pytest.mark.parametrize("length", [1, 511, 512, 513, 320000])
def test_normalisation_is_exact_in_onnx_runtime(length: int, tmp_path: Path) -> None:
    """It adds one number after the other: without sums in blocks, 20 s differ by 3e-6 here, by 8e-5 in speech."""
    path = tmp_path / "model.onnx"
    onnx.save(export_graph(NormalizerAlone(), path, Exporter.TORCHSCRIPT), path)
    audio = make_audio(length)
    exact = audio.astype(np.float64)
    exact = (exact - exact.mean()) / np.sqrt(exact.var() + 1e-7)
    normalized, _ = open_engine(path)(audio[None], np.array([[length]], np.int32))
    np.testing.assert_allclose(normalized[0, :, 0], exact, rtol=0, atol=1e-6)


def test_without_normalisation_audio_passes_as_it_is() -> None:
    audio = torch.tensor([[0.5, -0.25, 3.0, float("nan")]])
    result = AudioNormalizer(normalize=False)(audio, torch.tensor([[2]], dtype=torch.int32))
    assert result.tolist() == [[0.5, -0.25, 0.0, 0.0]]


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16], ids=str)
def test_the_mask_holds_in_half_precision(dtype: torch.dtype) -> None:
    scores = torch.tensor([[30.0, -30.0, 20.0], [1.0, 2.0, 3.0]], dtype=dtype)
    padding = torch.tensor([[0.0, 0.0, 1.0], [1.0, 1.0, 1.0]], dtype=dtype)
    weights = torch.softmax(scores + padding * MASKED_SCORE, dim=-1)
    assert weights[0, 2] == 0
    assert torch.isfinite(weights).all()


def test_the_other_exporter_gives_the_same(tmp_path: Path) -> None:
    audio = make_audio(8000)
    rows = []
    for exporter in Exporter:
        engine = AcousticEngine(make_model("wav2vec2"), normalize=True).eval()
        path = tmp_path / f"{exporter}.onnx"
        model = export_graph(engine, path, exporter, opset=18)
        assert [axis.dim_param for axis in model.graph.output[0].type.tensor_type.shape.dim] == ["B", "F", ""]
        onnx.save(model, path)
        rows.append(run(open_engine(path), [audio, audio[:500]])[0])
    np.testing.assert_allclose(rows[0], rows[1], atol=1e-4)


def test_wavlms_table_of_biases_holds_every_distance() -> None:
    attention = make_model("wavlm").base_model.encoder.layers[0].attention
    with torch.no_grad():
        expected = attention.compute_bias(1000, 1000)
        assert torch.equal(PositionBias(attention)(1000)[0], expected)
