"""From a checkpoint to the engine ``acoustic_openvino`` in the repository: the whole of ``shrota export openvino``."""

from dataclasses import dataclass
from pathlib import Path

from shrota_export.checkpoint import Checkpoint
from shrota_export.errors import RepositoryError
from shrota_export.exporters import Exporter, export_graph
from shrota_export.frontend import receptive_field_and_stride
from shrota_export.gate import Report, Subject, Thresholds, check, read_speech
from shrota_export.gate.stages import module_engine
from shrota_export.graph.engine import AcousticEngine
from shrota_export.loading import load_feature_extractor, load_model, load_tokenizer
from shrota_export.manifest import describe_file, now, read_manifest, write_json
from shrota_export.openvino.runtime import find_openvino, open_model, write_model
from shrota_export.openvino.weights import with_int8_weights
from shrota_export.paths import MANIFEST, OPENVINO_DESCRIPTION, OPENVINO_MODEL, OPENVINO_WEIGHTS
from shrota_export.precision.graphs import save_graph
from shrota_export.precision.kinds import Precision
from shrota_export.progress import step
from shrota_export.repository import check_repository, publication
from shrota_export.vocabulary import read_vocabulary

FOLDER = OPENVINO_MODEL.parts[0]


@dataclass(frozen=True)
class Order:
    """What the user asks for.

    Attributes:
        precision: int8 (weights and products in 8 bits, the rest in bfloat16), bf16 or fp32.
        speech: a manifest, to compare on.
        thresholds: settings of the gate, ``NAME=VALUE``.
    """

    precision: Precision
    speech: Path
    thresholds: tuple[str, ...] = ()


def export_openvino(checkpoint: Checkpoint, repository: Path, order: Order) -> Report:
    """Writes the engine, compares it with PyTorch in float32 on speech, and installs it if the gate passes it.

    Raises:
        ExportError: with the cause; the repository is then as it was.
    """
    check_repository(repository)
    find_openvino()
    thresholds = Thresholds.of(order.precision).changed(order.thresholds)
    if not (repository / FOLDER / "config.pbtxt").is_file():
        raise RepositoryError(f"{repository} lacks {FOLDER}/config.pbtxt: copy {FOLDER} from the source")
    exported = read_manifest(repository / MANIFEST).get("checkpoint", {}).get("sha256")
    if exported != checkpoint.sha256:
        there = "another checkpoint" if exported else "no checkpoint"
        raise RepositoryError(f"{repository} has {there}: run `shrota export onnx {checkpoint.name}` first")
    with publication(repository) as files:
        with step("load the checkpoint"):
            model = load_model(checkpoint)
            normalize = bool(load_feature_extractor(checkpoint).do_normalize)
            vocabulary = read_vocabulary(checkpoint.name, load_tokenizer(checkpoint), model.config.vocab_size)
            shortest, _ = receptive_field_and_stride(model.config.conv_kernel, model.config.conv_stride)
            engine = AcousticEngine(model, normalize=normalize).eval()
            del model
        with step(f"write the graph for OpenVINO ({order.precision})"):
            _write(engine, files.scratch(), files.path(OPENVINO_MODEL), order.precision, shortest)
        with step("compare it with PyTorch in float32"):
            reference = Subject(
                "PyTorch",
                module_engine(engine),
                Precision.FP32,
                vocabulary=vocabulary,
                sample_rate=checkpoint.sample_rate,
            )
            run, description = open_model(files.path(OPENVINO_MODEL), order.precision)
            candidate = reference.beside(f"{FOLDER}, {order.precision}", run, order.precision)
            report = check(candidate, reference, read_speech(order.speech, reference), thresholds, explain=False)
            report.raise_for_failures()
        content = {
            "checkpoint": {"name": checkpoint.name, "sha256": checkpoint.sha256},
            "precision": str(order.precision),
            "openvino": description,
            "gate": report.as_dict(),
            "files": {path.name: describe_file(files.path(path)) for path in (OPENVINO_WEIGHTS, OPENVINO_MODEL)},
            "date": now(),
        }
        write_json(files.path(OPENVINO_DESCRIPTION), content)
        files.commit([OPENVINO_WEIGHTS, OPENVINO_DESCRIPTION, OPENVINO_MODEL])
    return report


def _write(engine: AcousticEngine, scratch: Path, target: Path, precision: Precision, shortest: int) -> None:
    graph = export_graph(engine, scratch / "graph.onnx", Exporter.TORCHSCRIPT)
    if precision is Precision.INT8:
        graph = with_int8_weights(graph)
    path = scratch / "source.onnx"
    save_graph(graph, path, "source.onnx.data")
    write_model(path, target, precision, shortest)
