"""From a checkpoint to a model repository: the whole of ``shrota export onnx``."""

import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import onnx

from shrota_export.checkpoint import Checkpoint
from shrota_export.configuration import configurations_to_change
from shrota_export.engines import open_engine
from shrota_export.errors import CheckpointError
from shrota_export.exporters import Exporter, export_graph
from shrota_export.frontend import Frontend, receptive_field_and_stride
from shrota_export.gate import Report, Subject, check
from shrota_export.gate import read_speech as read_whole_speech
from shrota_export.gate.stages import module_engine
from shrota_export.graph.engine import AcousticEngine, Target
from shrota_export.language_model import StagedModel, is_of, stage_language_model
from shrota_export.loading import load_feature_extractor, load_model, load_tokenizer
from shrota_export.manifest import Settings, count_nodes, describe_file, now, write_json
from shrota_export.paths import FLOAT32_MODEL, FRONTEND, LANGUAGE_MODELS, LM_WORDS, MANIFEST, MODEL, VOCABULARY
from shrota_export.precision.graphs import save_graph
from shrota_export.precision.kinds import Precision
from shrota_export.progress import step
from shrota_export.repository import Publication, data_files, publication
from shrota_export.speech import read_speech
from shrota_export.verification import INVARIANCE_TOLERANCE, TOLERANCE, reference_log_probs, verify
from shrota_export.vocabulary import Vocabulary, read_vocabulary


@dataclass(frozen=True)
class Export:
    """What was written, for whoever wants to say so."""

    nodes: dict[str, int]
    differences: dict[str, float]
    gate: Report
    """Its comparison with PyTorch on all of the speech."""
    language_model: str | None
    """What became of the decoder's language model, in one line; None if there was none and is none."""


def export_onnx(checkpoint: Checkpoint, repository: Path, speech: Path, settings: Settings) -> Export:
    """Exports a checkpoint, verifies the graph on speech, and puts it into the repository with all that belongs to it.

    Two comparisons come before anything is installed: cuts of the speech with the Hugging Face model, whose own way of
    reading audio is part of that; and all of it, with its texts, with this engine in PyTorch, by the gate.

    Raises:
        ExportError: with the cause; the repository is then as it was.
    """
    with publication(repository) as files:
        utterances = read_speech(speech, checkpoint.sample_rate)
        with step("load the checkpoint"):
            model = load_model(checkpoint)
            extractor = load_feature_extractor(checkpoint)
            vocabulary = read_vocabulary(checkpoint.name, load_tokenizer(checkpoint), model.config.vocab_size)
            receptive_field, stride = receptive_field_and_stride(model.config.conv_kernel, model.config.conv_stride)
            frontend = Frontend(checkpoint.sample_rate, stride, receptive_field, bool(extractor.do_normalize))
        with step("run it on speech"):
            references = reference_log_probs(model, extractor, utterances)
        with step(f"export the graph ({settings.exporter}, opset {settings.opset})"):
            engine = AcousticEngine(model, normalize=frontend.normalize, target=Target(settings.target)).eval()
            del model
            graph = _export(checkpoint.name, engine, files.scratch() / "graph.onnx", settings)
            nodes = count_nodes(graph)
            data = _save(graph, files, _fingerprint(checkpoint, settings))
            del graph
        with step("verify the graph on speech"):
            run = open_engine(files.path(MODEL))
            differences = verify(run, utterances, references, receptive_field)
        with step("compare it with PyTorch on all speech"):
            candidate = Subject(
                "the exported graph", run, Precision.FP32, vocabulary=vocabulary, sample_rate=checkpoint.sample_rate
            )
            reference = candidate.beside("PyTorch", module_engine(engine), Precision.FP32)
            gate = check(candidate, reference, read_whole_speech(speech, reference))
            gate.raise_for_failures()
            del engine, run, candidate, reference
        with step("write the repository"):
            write_json(files.path(FRONTEND), frontend.as_json())
            write_json(files.path(VOCABULARY), vocabulary.as_json(frontend.stride / frontend.sample_rate))
            there = any((repository / path).exists() for path in LANGUAGE_MODELS)
            language_model, stale = _language_model(checkpoint, files, vocabulary)
            configurations = configurations_to_change(repository, len(vocabulary.tokens))
            for relative, text in configurations.items():
                files.path(relative).write_text(text, encoding="utf-8")
            lm_files = language_model.paths if language_model else ()
            written = [*data, *lm_files, VOCABULARY, FRONTEND, *configurations, MODEL]
            content = {
                "checkpoint": _describe(checkpoint),
                "settings": settings.as_json(),
                "graph": nodes,
                "verification": {
                    "speech": [utterance.name for utterance in utterances],
                    "largest_difference": differences,
                    "tolerance": {"checkpoint": TOLERANCE, "invariance": INVARIANCE_TOLERANCE},
                },
                "gate": gate.as_dict(),
                "files": {str(name): describe_file(files.path(name)) for name in (*data, VOCABULARY, FRONTEND, MODEL)},
                "language_model": None if language_model is None else {"words": language_model.words},
                "date": now(),
            }
            write_json(files.path(MANIFEST), content)
            stale += [FLOAT32_MODEL, *(path for path in data_files(repository) if path not in data)]
            files.commit([*written, MANIFEST], remove=stale)
    return Export(nodes, differences, gate, _fate(language_model, there=there, removed=LM_WORDS in stale))


def _fate(installed: StagedModel | None, *, there: bool, removed: bool) -> str | None:
    """What is said of the language model, so that none comes or goes in silence."""
    if installed is not None:
        place = ", in place of the one that was there" if there else ""
        return f"the checkpoint's own language model is installed{place}: {installed.describe()}"
    if not there:
        return None
    if removed:
        return "the language model that was there is removed: it was installed for another checkpoint"
    return "the language model that was installed for this checkpoint stays"


def _language_model(
    checkpoint: Checkpoint, files: Publication, vocabulary: Vocabulary
) -> tuple[StagedModel | None, list[Path]]:
    """The checkpoint's language model, if it brings one, and the files of others, which must go.

    One that was installed by itself for the same checkpoint stays.
    """
    if checkpoint.language_model is None:
        stays = is_of(files.repository, checkpoint.sha256)
        return None, [] if stays else [LM_WORDS, *LANGUAGE_MODELS]
    staged = stage_language_model(checkpoint.language_model, files, vocabulary.letters)
    return staged, staged.stale


def _export(name: str, engine: AcousticEngine, path: Path, settings: Settings) -> onnx.ModelProto:
    try:
        return export_graph(engine, path, Exporter(settings.exporter), settings.opset)
    except (RuntimeError, ValueError) as error:  # OnnxExporterError, and what the exporters raise from inside
        reason = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise CheckpointError(name, f"PyTorch's exporter ({settings.exporter}) fails on it: {reason}") from error


def _describe(checkpoint: Checkpoint) -> dict[str, Any]:
    return {"name": checkpoint.name, "sha256": checkpoint.sha256, "config": checkpoint.config}


def _fingerprint(checkpoint: Checkpoint, settings: Settings) -> str:
    text = f"{checkpoint.sha256} {settings.as_json()}"
    return hashlib.sha256(text.encode()).hexdigest()[:12]


def _save(graph: onnx.ModelProto, files: Publication, fingerprint: str) -> list[Path]:
    """Writes ``model.onnx``; weights that do not fit into a protobuf go into one file beside it.

    That file has a name of its own for each export, so that the old ``model.onnx`` keeps its weights until the moment
    in which the new one takes its place.

    Returns:
        The weights' file, if there is one, from the repository's folder on.
    """
    data = save_graph(graph, files.path(MODEL), f"model.{fingerprint}.onnx.data")
    return [MODEL.with_name(path.name) for path in data]
