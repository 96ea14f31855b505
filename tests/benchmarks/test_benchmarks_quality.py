"""``benchmarks.decoder_quality`` against a real server with the tiny engine: its numbers, and the page they are on."""

import asyncio
import json
import subprocess
from pathlib import Path

import numpy as np
import pytest
import soundfile

from benchmarks.decoder_quality import HOTWORD_WEIGHTS, check, measure, read_arguments
from benchmarks.hotwords import Lexicon, rare_words, words_not_said
from benchmarks.quality_page import page
from scripts.repository import ROOT
from shrota_client import ManifestError
from shrota_client.score import score_texts
from shrota_client.tuning_plan import Plan, Range, Space
from shrota_decoder.decoder import Decoder
from shrota_decoder.language_model import find_language_model
from shrota_decoder.settings import read_settings
from shrota_server import TritonServer
from shrota_testing.engines import tiny_log_probs
from shrota_testing.language_models import write_arpa
from shrota_testing.repository import make_repository
from shrota_testing.utterances import VOCABULARY, expected_text, noise

LEXICON = Lexicon(frozenset({"कमल", "नयन", "गगन", "काम"}), frozenset({"काम"}))


def write_set(folder: Path, seeds: range) -> Path:
    """Noise, and what is heard in it greedily as its references; the words are long, and no language model has them."""
    folder.mkdir()
    lines = []
    for seed in seeds:
        audio = noise(1.0, seed)
        soundfile.write(folder / f"{seed}.wav", audio, 16000, subtype="FLOAT")
        lines.append(json.dumps({"audio": f"{seed}.wav", "text": expected_text(audio)}))
    path = folder / "manifest.jsonl"
    path.write_text("\n".join(lines), encoding="utf-8")
    return path


def hotword_error_rate(repository: Path, manifest: Path, weight: float) -> float:
    """The word error rate of a set whose rare words are hotwords, by the decoder in this process."""
    lines = [json.loads(line) for line in manifest.read_text(encoding="utf-8").splitlines()]
    audios = [soundfile.read(manifest.parent / line["audio"], dtype="float32")[0] for line in lines]
    references = [line["text"] for line in lines]
    said = rare_words(references, LEXICON)
    hotwords = json.dumps([*said, *words_not_said(references, LEXICON, len(said))])
    decoder = Decoder(VOCABULARY, find_language_model(repository / "ctc_decoder" / "1"), read_settings({}))
    parameters = decoder.read_parameters(
        {"beam_width": 10, "lm_weight": 0.5, "word_score": 1, "hotwords": hotwords, "hotword_weight": weight}
    )
    decoder.prepare(parameters)
    texts = [decoder.decode(tiny_log_probs(audio).astype(np.float32), 1.0, parameters).text for audio in audios]
    return score_texts(list(zip(references, texts, strict=True))).words.value


@pytest.mark.triton
def test_every_way_is_measured_and_stands_on_the_page(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    repository = make_repository(tmp_path / "model_repository")
    write_arpa(repository / "ctc_decoder" / "1" / "lm.arpa", {"काम": -1.0, "नाम": -3.0})
    development, held_out = write_set(tmp_path / "development", range(2)), write_set(tmp_path / "unseen", range(2, 5))
    plan = Plan(Space(Range(0.5, 0.5, 1), Range(1, 1, 1)), refinements=0, beam_width=10)
    name = expected_text(noise(1.0, 2)).split()[0]
    monkeypatch.setattr("benchmarks.names.NAMES", [name, "कमल"])
    with TritonServer(repository, models=["asr", "acoustic_onnx"]) as server:
        measured = asyncio.run(measure(server.grpc_url, LEXICON, development, [held_out], plan))

    (content,) = measured["sets"]
    assert (content["name"], content["utterances"], content["duration"]) == ("unseen", 3, 3.0)
    assert list(content["ways"]) == [
        "greedy", "beam", "beam, hotwords", "beam, language model", "beam, language model, hotwords",
    ]  # fmt: skip
    greedy = content["ways"]["greedy"]
    assert (greedy["word_error_rate"], greedy["character_error_rate"]) == (0, 0)
    assert (greedy["recall"], greedy["precision"], greedy["not_said_false_alarms"]) == (1, 1, 0)
    # noise is no Hindi: a model of Hindi words hears less of it, and the words themselves as hotwords bring it back
    with_model, with_hotwords = (
        content["ways"][way] for way in ("beam, language model", "beam, language model, hotwords")
    )
    assert with_model["recall"] < with_hotwords["recall"]
    assert with_model["word_error_rate"] > with_hotwords["word_error_rate"]
    said = {word for seed in range(2, 5) for word in expected_text(noise(1.0, seed)).split()}
    assert set(content["hotwords"]["said"]) == {word for word in said if len(word) >= 3}
    assert set(content["hotwords"]["not_said"]) <= {"कमल", "नयन", "गगन"}

    best = measured["development"]["best"]
    assert (best["lm_weight"], best["word_score"]) == (0.5, 1)
    rows = {row["hotword_weight"]: row["word_error_rate"] for row in measured["development"]["hotword_weights"]}
    expected = {weight: hotword_error_rate(repository, development, weight) for weight in HOTWORD_WEIGHTS}
    assert rows == expected
    assert expected[measured["hotword_weight"]] < expected[HOTWORD_WEIGHTS[0]]
    assert all(rate >= expected[measured["hotword_weight"]] for rate in expected.values())

    text = page({"checkpoint": {"name": "tiny", "sha256": "0" * 64}, **measured}, "a machine")
    assert "| unseen | 3 | greedy | 0.0 % (0.0 to 0.0) | 0.0 % (0.0 to 0.0) |" in text
    assert text.count("beam, language model, hotwords") == 2
    assert content["names"] == {"said": [name], "not_said": ["कमल"]}
    assert list(content["name_ways"]) == [
        "greedy", "beam", "beam, names", "beam, language model", "beam, language model, names",
    ]  # fmt: skip
    assert content["name_ways"]["greedy"]["recall"] == 1
    named = [line for line in text.splitlines() if line.startswith("| unseen | 1 + 1 | greedy | 0.0 % (0.0 to 0.0) |")]
    assert len(named) == 1


def test_the_committed_page_is_of_the_bundled_checkpoint_and_sets_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)
    committed, other = ROOT / "docs" / "benchmarks" / "decoder-quality.md", ROOT / ".cache/bench/decoder-quality.md"
    assert read_arguments([]).output == committed
    assert read_arguments(["--checkpoint", str(ROOT / "models" / "hindi-small")]).output == committed
    assert read_arguments(["--checkpoint", "ai4bharat/indicwav2vec-hindi"]).output == other
    assert read_arguments(["--beam-width", "10"]).output == other
    assert read_arguments(["mine.jsonl"]).output == other
    assert read_arguments(["--development", "mine.jsonl"]).output == other
    assert read_arguments(["--checkpoint", "other", "--output", "mine.md"]).output == Path("mine.md")


def test_what_a_clone_lacks_is_said_where_the_command_is() -> None:
    listed = subprocess.run(["make", "help"], cwd=ROOT, capture_output=True, encoding="utf-8", check=True).stdout
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    (line,) = (each for each in listed.splitlines() if "make quality" in each)
    (row,) = (each for each in readme.splitlines() if each.startswith("| `make quality`"))
    assert "a clone lacks: first make -C training DATA=... test-set held-out" in line
    assert "not part of the repository, `make -C training DATA=FOLDER test-set held-out` writes it" in row


def test_a_manifest_that_is_missing_is_said_before_anything_is_started(tmp_path: Path) -> None:
    with pytest.raises(
        ManifestError, match=r"there is no .*none\.jsonl: `make -C training DATA=FOLDER test-set held-out`"
    ):
        check([tmp_path / "none.jsonl"])
