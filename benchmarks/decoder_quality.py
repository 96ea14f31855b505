"""What the decoder's ways are worth: error rates on held-out speech; rare words and names, said and not, as hotwords.

``python -m benchmarks.decoder_quality`` exports the bundled checkpoint, serves it, chooses the weights on the
development set alone, and writes ``docs/benchmarks/decoder-quality.md`` and ``.json``; with another checkpoint, other
sets or another beam, ``.cache/bench/decoder-quality.md``. The sets are those that
``make -C training test-set held-out`` writes, or any manifests: ``--development MANIFEST SET...``. The acoustic model
runs once over each.
"""

import argparse
import asyncio
import json
import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from benchmarks.exported import Checkpoint, exported
from benchmarks.hotwords import Detection, Lexicon, detect, rare_words, words_not_said
from benchmarks.machine import Machine
from benchmarks.names import split_names
from benchmarks.quality_page import page
from scripts.command import run
from scripts.repository import ROOT
from shrota_client import AsyncClient, Decoding, LogProbs, ManifestError, RequestError
from shrota_client.manifest import read_manifest
from shrota_client.score import Score
from shrota_client.text import normalize
from shrota_client.tuning import UtteranceLogProbs, check_references, compute_log_probs, score_decoding, tune
from shrota_client.tuning_plan import Plan
from shrota_client.tuning_report import as_dict
from shrota_server import TritonServer

WORK = ROOT / ".cache" / "training"
DEVELOPMENT = WORK / "held-out" / "development" / "manifest.jsonl"
SETS = (
    WORK / "test-set" / "manifest.jsonl",
    WORK / "held-out" / "voices-telephone" / "manifest.jsonl",
    WORK / "held-out" / "stations" / "manifest.jsonl",
    WORK / "held-out" / "stations-telephone" / "manifest.jsonl",
)
CHECKPOINT = ROOT / "models" / "hindi-small"
PAGE = ROOT / "docs" / "benchmarks" / "decoder-quality.md"
CONCURRENCY = 8
HOTWORD_WEIGHTS = (2.0, 4.0, 6.0, 8.0, 10.0, 12.0, 15.0)


@dataclass(frozen=True)
class Words:
    """The hotwords of a set: words that are said in it, and others that are not."""

    said: list[str]
    not_said: list[str]

    @property
    def all(self) -> list[str]:
        """Both, as one list of a request."""
        return [*self.said, *self.not_said]


class Bench:
    """Measures through one server."""

    def __init__(self, client: AsyncClient, lexicon: Lexicon, plan: Plan) -> None:
        self.client = client
        self.lexicon = lexicon
        self.plan = plan

    async def log_probs(self, manifest: Path) -> list[UtteranceLogProbs]:
        """The log-probabilities of a set.

        Raises:
            ShrotaError: The manifest or a recording of it cannot be used.
        """
        say(f"listening: {manifest}")
        utterances = read_manifest(manifest, need_text=True)
        check_references(utterances, manifest)
        computed, failed = await compute_log_probs(self.client, utterances, CONCURRENCY)
        if failed:
            raise ManifestError(f"{len(failed)} of {len(utterances)} recordings of {manifest} fail: {failed[0][1]}")
        return computed

    async def hotwords(self, utterances: Sequence[UtteranceLogProbs]) -> Words:
        """The hotwords of a set, without those that the checkpoint's letters cannot spell."""
        references = references_of(utterances)
        said = await self._spellable(rare_words(references, self.lexicon), utterances)
        return Words(said, words_not_said(references, self.lexicon, len(said)))

    async def names(self, utterances: Sequence[UtteranceLogProbs]) -> Words:
        """The names of our list, without those that the checkpoint's letters cannot spell."""
        said, not_said = split_names(references_of(utterances))
        return Words(await self._spellable(said, utterances), await self._spellable(not_said, utterances))

    async def _spellable(self, words: Sequence[str], utterances: Sequence[UtteranceLogProbs]) -> list[str]:
        """Those that the server takes as hotwords; one frame of speech is enough to ask."""
        frame = LogProbs(utterances[0].log_probs.values[:1], utterances[0].log_probs.duration)
        return [word for word in words if await self._can_spell(word, frame)]

    async def _can_spell(self, word: str, frame: LogProbs) -> bool:
        try:
            await self.client.decode(frame, decoding=Decoding(beam_width=2, lm_weight=0.0, hotwords=[word]))
        except RequestError:
            return False
        return True

    async def score(self, utterances: Sequence[UtteranceLogProbs], decoding: Decoding) -> Score:
        """The error rates of one way of decoding."""
        return await score_decoding(self.client, utterances, decoding, CONCURRENCY)

    async def choose_hotword_weight(
        self, utterances: Sequence[UtteranceLogProbs], best: Decoding
    ) -> list[dict[str, Any]]:
        """What each boost gives on the development set, with the language model."""
        words = await self.hotwords(utterances)
        rows = []
        for weight in HOTWORD_WEIGHTS:
            hotwords = Decoding(hotwords=words.all, hotword_weight=weight)
            score = await self.score(utterances, best.updated(hotwords))
            rows.append({"hotword_weight": weight, **rates(score), **hotword_fields(score, words)})
        return rows

    async def set(self, manifest: Path, best: Decoding, hotword_weight: float) -> dict[str, Any]:
        """Everything about one held-out set."""
        utterances = await self.log_probs(manifest)
        words, names = await self.hotwords(utterances), await self.names(utterances)
        hotwords = Decoding(hotwords=words.all, hotword_weight=hotword_weight)
        favoured = Decoding(hotwords=names.all, hotword_weight=hotword_weight)
        without = self.plan.decoding(None)
        ways = {
            "greedy": self.plan.greedy,
            "beam": without,
            "beam, hotwords": without.updated(hotwords),
            "beam, names": without.updated(favoured),
            "beam, language model": best,
            "beam, language model, hotwords": best.updated(hotwords),
            "beam, language model, names": best.updated(favoured),
        }
        if not names.said:
            ways = {name: decoding for name, decoding in ways.items() if not name.endswith(", names")}
        scores = {}
        for name, decoding in ways.items():
            say(f"decoding: {name}")
            scores[name] = await self.score(utterances, decoding)
        return {
            "name": name_of(manifest),
            "utterances": len(utterances),
            "words": sum(each.words.reference_length for each in scores["greedy"].utterances),
            "duration": sum(each.log_probs.duration for each in utterances),
            "hotwords": asdict(words),
            "ways": {
                name: {**rates(score), **hotword_fields(score, words)}
                for name, score in scores.items()
                if not name.endswith(", names")
            },
            "names": asdict(names),
            "name_ways": {
                name: {**rates(score), **hotword_fields(score, names)}
                for name, score in scores.items()
                if not name.endswith(", hotwords")
            },
        }


def references_of(utterances: Sequence[UtteranceLogProbs]) -> list[str]:
    """What is said in each, normalised."""
    return [normalize(each.utterance.text or "") for each in utterances]


def name_of(manifest: Path) -> str:
    """A set is called as its folder, or as its file where that has a name of its own."""
    return manifest.parent.name if manifest.stem == "manifest" else manifest.stem


def rates(score: Score) -> dict[str, Any]:
    """Both error rates with their intervals."""
    return {
        "word_error_rate": score.words.value,
        "word_error_rate_interval": score.words.interval,
        "character_error_rate": score.characters.value,
        "character_error_rate_interval": score.characters.interval,
    }


def hotword_fields(score: Score, words: Words) -> dict[str, Any]:
    """Recall and precision of the words that are said, and how often those that are not stand in a transcript."""
    said: Detection = detect(score, words.said)
    return {
        "said": sum(said.recall.wholes),
        "hits": sum(said.hits),
        "false_alarms": sum(said.false_alarms),
        "recall": said.recall.value,
        "recall_interval": said.recall.interval,
        "precision": said.precision.value,
        "precision_interval": said.precision.interval,
        "not_said_false_alarms": sum(detect(score, words.not_said).false_alarms),
    }


async def measure(url: str, lexicon: Lexicon, development: Path, sets: Sequence[Path], plan: Plan) -> dict[str, Any]:
    """Tunes on the development set, then measures every held-out set.

    Args:
        url: Of the server.
        lexicon: Of its language model.
        development: Manifest that chooses the weights, and counts for nothing else.
        sets: Manifests of held-out speech.
        plan: How to look for the weights.

    Raises:
        ShrotaError: The server or a manifest cannot be used.
    """
    async with AsyncClient(url) as client:
        bench = Bench(client, lexicon, plan)
        utterances = await bench.log_probs(development)
        say("tuning")
        tuning = await tune(client, utterances, plan, CONCURRENCY)
        best = plan.decoding(tuning.found.best.weights)
        hotword_rows = await bench.choose_hotword_weight(utterances, best)
        hotword_weight = min(hotword_rows, key=lambda row: row["word_error_rate"])["hotword_weight"]
        return {
            "development": {"name": name_of(development), **as_dict(tuning), "hotword_weights": hotword_rows},
            "hotword_weight": hotword_weight,
            "sets": [await bench.set(manifest, best, hotword_weight) for manifest in sets],
        }


def say(text: str) -> None:
    """One line of progress."""
    print(text, file=sys.stderr, flush=True)


def check(manifests: Sequence[Path]) -> None:
    """Refuses manifests that are not there, before anything is started.

    Raises:
        ManifestError: One is missing.
    """
    for manifest in manifests:
        if not manifest.is_file():
            remedy = "`make -C training DATA=FOLDER test-set held-out` writes it (training/README.md), or name another"
            raise ManifestError(f"there is no {manifest}: {remedy}")


def read_arguments(arguments: Sequence[str] | None = None) -> argparse.Namespace:
    """What the command line says, and where the page goes: the committed one is of the defaults alone."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("sets", type=Path, nargs="*", default=list(SETS), metavar="SET", help="manifests to measure")
    parser.add_argument("--development", type=Path, default=DEVELOPMENT, help="manifest that chooses the weights")
    parser.add_argument("--checkpoint", default="models/hindi-small", help="with an lm.arpa.gz")
    parser.add_argument("--beam-width", type=int, default=Plan().beam_width)
    parser.add_argument("--output", type=Path, help="the page; its numbers go beside it as JSON")
    read = parser.parse_args(arguments)
    if read.output is None:
        ours = Path(read.checkpoint).resolve() == CHECKPOINT.resolve()
        usual = (read.sets, read.development, read.beam_width) == (list(SETS), DEVELOPMENT, Plan().beam_width)
        read.output = PAGE if ours and usual else ROOT / ".cache" / "bench" / PAGE.name
    return read


def main() -> None:
    """Measures and writes the page."""
    arguments = read_arguments()
    check([arguments.development, *arguments.sets])
    plan = Plan(beam_width=arguments.beam_width)
    repository = exported("quality", arguments.checkpoint)
    arpa = repository / "ctc_decoder" / "1" / "lm.arpa"
    if not arpa.is_file():
        raise ManifestError(f"{arguments.checkpoint} has no lm.arpa.gz: the rare words are those that it has not seen")
    with TritonServer(repository, models=["asr", "acoustic_onnx"]) as server:
        content = asyncio.run(measure(server.grpc_url, Lexicon.read(arpa), arguments.development, arguments.sets, plan))
    content = {"machine": asdict(Machine.here()), "checkpoint": asdict(Checkpoint.of(repository)), **content}
    write(arguments.output, content, page(content, Machine.here().line()))


def write(output: Path, content: dict[str, Any], text: str) -> None:
    """Writes the page, and its numbers beside it."""
    output.parent.mkdir(parents=True, exist_ok=True)
    output.write_text(text, encoding="utf-8")
    output.with_suffix(".json").write_text(json.dumps(content, ensure_ascii=False, indent=1) + "\n", encoding="utf-8")
    print(text)
    say(f"written: {output}")


if __name__ == "__main__":
    run(main)
