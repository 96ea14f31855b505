"""``shrota export precision``: puts a graph of another precision in the place of the engine's, after the gate.

``acoustic_onnx/1/model.onnx`` is what Triton serves. The first time that it is replaced, the float32 graph stays beside
it as ``float32.onnx``: the next conversion starts from there, and ``--to fp32`` puts it back.
"""

import shutil
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import onnx

from shrota_export.errors import GateError, RepositoryError
from shrota_export.gate import Report, Spoken, Subject, Thresholds, check, open_subject
from shrota_export.gate.speech import fingerprint as fingerprint_speech
from shrota_export.gate.subject import make_subject
from shrota_export.manifest import count_nodes, describe_file, now, read_manifest, write_json
from shrota_export.paths import FLOAT32_MODEL, MANIFEST, MODEL
from shrota_export.precision.attention import describe_attention, has_fused_attention, is_for_gpus
from shrota_export.precision.convert import convert
from shrota_export.precision.graphs import fingerprint, load_graph, save_graph, weights_files
from shrota_export.precision.kinds import FLOAT16_MAX, Precision, precision_of
from shrota_export.precision.mixed import MARGIN, unsafe_nodes
from shrota_export.precision.ranges import measure_ranges
from shrota_export.precision.search import Found, search
from shrota_export.progress import step
from shrota_export.repository import Publication, data_files, give_usual_mode, publication

SEARCH_SECONDS = 60
"""Speech that each trial of the search runs alone; the graph that it ends with is judged by all."""


@dataclass(frozen=True)
class Made:
    """A converted graph that the gate passed.

    Attributes:
        graph: the graph.
        report: the gate's.
        speech: SHA-256 of the speech that it ran on.
        unsafe: nodes that stayed float32 because of their range, with the largest magnitude at them.
        found: what the search added; None if none was needed.
    """

    graph: onnx.ModelProto
    report: Report
    speech: str
    unsafe: dict[str, float]
    found: Found | None
    margin: float
    fused: bool = False
    """whether attention was to be one node"""

    def describe(self) -> str:
        """What stayed float32 and why, in one line."""
        parts = [f"{len(self.unsafe)} nodes whose range is too wide for float16"] if self.unsafe else []
        if self.found is not None:
            parts.append(f"{len(self.found.nodes)} that the gate asked for (in {', '.join(self.found.layers)})")
        kept = f"kept in float32 besides: {' and '.join(parts) or 'nothing'}"
        return f"{kept}; {describe_attention(self.graph)}" if self.fused else kept

    def as_dict(self) -> dict[str, Any]:
        """What the manifest keeps."""
        return {
            "precision": str(self.report.precision),
            "graph": count_nodes(self.graph),
            "fused_attention": has_fused_attention(self.graph),
            "kept_in_float32": {
                "by_range": {"limit": FLOAT16_MAX / self.margin, "nodes": self.unsafe},
                "by_search": None
                if self.found is None
                else {"layers": self.found.layers, "nodes": self.found.nodes, "trials": self.found.trials},
            },
            "gate": self.report.as_dict(),
            "speech": self.speech,
            "date": now(),
        }


def make(
    source: onnx.ModelProto,
    reference: Subject,
    precision: Precision,
    speech: Sequence[Spoken],
    thresholds: Thresholds | None = None,
    *,
    margin: float = MARGIN,
    fused: bool | None = None,
) -> Made:
    """Converts a float32 graph so that the gate passes it.

    Args:
        source: the float32 graph.
        reference: what the result is compared with.
        precision: the one wanted.
        speech: what it is compared on.
        thresholds: the gate's; None for those of the precision.
        margin: see :data:`~shrota_export.precision.mixed.MARGIN`.
        fused: attention as one node of ONNX Runtime's, in float16; None if the graph was exported for GPUs.

    Raises:
        GateError: it does not pass, whatever stays float32.
        GraphError: the graph cannot be converted.
    """
    thresholds = thresholds or Thresholds.of(precision)
    fused = is_for_gpus(source) if fused is None else fused
    unsafe: dict[str, float] = {}
    if precision is Precision.FP16:
        with step("measure ranges on speech"):
            unsafe = unsafe_nodes(source, measure_ranges(source, speech), margin)
    name = f"the {precision} graph"

    def subject(keep: Sequence[str]) -> tuple[onnx.ModelProto, Subject]:
        graph = convert(source, precision, {}, {*unsafe, *keep}, margin, fused=fused)
        return graph, make_subject(name, graph, vocabulary=reference.vocabulary, sample_rate=reference.sample_rate)

    with step(f"convert to {precision} and compare"):
        graph, candidate = subject([])
        report = check(candidate, reference, speech, thresholds)
    found = None
    if not report.passed:
        excerpt = _excerpt(speech, reference.sample_rate)

        def passes(keep: set[str]) -> bool:
            try:
                return check(subject(sorted(keep))[1], reference, excerpt, thresholds, explain=False).passed
            except GateError:
                return False

        with step("search for what must stay float32"):
            found = search(source, precision, passes)
        if found is None:
            report.raise_for_failures()
        else:
            with step("compare again"):
                graph, candidate = subject(found.nodes)
                report = check(candidate, reference, speech, thresholds)
    report.raise_for_failures()
    return Made(graph, report, fingerprint_speech(speech), unsafe, found, margin, fused and precision is Precision.FP16)


def check_output(output: Path) -> None:
    """Raises :class:`RepositoryError` where the report, ``<name>.json``, would take the place of the graph."""
    if output.suffix == ".json":
        raise RepositoryError(f"{output} is the name of the report, not of the graph: name one that ends in .onnx")


def write(made: Made, output: Path) -> None:
    """Writes the graph to a file of its own, whole or not at all, and ``<name>.json`` with what the gate measured.

    Weights that lie beside it have a name of their own, so that a graph that was there keeps its until it is replaced.

    Raises:
        RepositoryError: it cannot be written, or ends in ``.json``.
    """
    check_output(output)
    try:
        output.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=".shrota-precision-", dir=output.parent) as folder:
            staged = Path(folder) / output.name
            old = [path for path in weights_files(output) if path.name.startswith(f"{output.name}.")]
            data = save_graph(made.graph, staged, f"{output.name}.{fingerprint(made.graph)}.data")
            try:
                for path in [*data, staged]:
                    give_usual_mode(path)
                    path.replace(output.with_name(path.name))
            except BaseException:
                if staged.exists():  # the old graph stands: only its weights stay
                    for path in {output.with_name(each.name) for each in data} - set(old):
                        path.unlink(missing_ok=True)
                raise
            write_json(output.with_suffix(".json"), made.as_dict())
            for path in old:
                if path.name not in {each.name for each in data}:
                    path.unlink(missing_ok=True)
    except OSError as error:
        raise RepositoryError(f"cannot write {output}: {error.strerror or error}") from error


def _excerpt(speech: Sequence[Spoken], sample_rate: int) -> list[Spoken]:
    """The first utterances, up to ``SEARCH_SECONDS``."""
    chosen: list[Spoken] = []
    left = SEARCH_SECONDS * sample_rate
    for spoken in speech:
        samples = sum(window.size for window in spoken.windows)
        if samples <= left or not chosen:
            chosen.append(spoken)
            left -= samples
    return chosen


def source_of(graph: Path) -> Path:
    """The float32 graph that a conversion of ``graph`` starts from: itself, or the one that is kept beside it."""
    kept = graph.with_name(FLOAT32_MODEL.name)
    if graph.name == MODEL.name and kept.is_file() and precision_of(load_graph(graph)) is not Precision.FP32:
        return kept
    return graph


def repository_of(graph: Path) -> Path:
    """The model repository that a graph is the engine of.

    Raises:
        RepositoryError: it is none of one.
    """
    folder = graph.resolve()
    for _ in MODEL.parts:
        folder = folder.parent
    if (folder / MODEL).resolve() != graph.resolve():
        raise RepositoryError(f"{graph} is not the engine of a model repository ({MODEL}): name a file with --output")
    return folder


def install(
    graph: Path,
    precision: Precision,
    speech: Sequence[Spoken],
    thresholds: Thresholds | None,
    *,
    margin: float = MARGIN,
    fused: bool | None = None,
) -> Made | None:
    """Converts a repository's engine in place.

    Returns:
        None if the float32 graph was put back.

    Raises:
        ExportError: with the cause; the repository is then as it was.
    """
    repository = repository_of(graph)
    source_path = source_of(graph)
    with publication(repository) as files:
        if precision is Precision.FP32:
            _put_back(files, source_path)
            return None
        source = load_graph(source_path)
        made = make(source, open_subject(source_path), precision, speech, thresholds, margin=margin, fused=fused)
        with step("write the repository"):
            data = save_graph(made.graph, files.path(MODEL), f"model.{fingerprint(made.graph)}.onnx.data")
            order = [MODEL.with_name(path.name) for path in data]
            if source_path.name != FLOAT32_MODEL.name:
                _copy(source_path, files.path(FLOAT32_MODEL))
                order.append(FLOAT32_MODEL)
            _commit(files, [*order, MODEL], made.as_dict(), remove=_unused(repository, source_path, data))
    return made


def _put_back(files: Publication, source: Path) -> None:
    if source.name != FLOAT32_MODEL.name:
        return
    _copy(source, files.path(MODEL))
    _commit(files, [MODEL], None, remove=[FLOAT32_MODEL, *_unused(files.repository, source)])


def _unused(repository: Path, source: Path, data: Sequence[Path] = ()) -> list[Path]:
    """Files of weights that neither the float32 graph nor the new one, with ``data``, names."""
    named = {path.name for path in (*weights_files(source), *data)}
    return [path for path in data_files(repository) if path.name not in named]


def _commit(
    files: Publication, order: Sequence[Path], precision: dict[str, Any] | None, remove: Sequence[Path] = ()
) -> None:
    """Moves the files into the repository, the manifest with what is new in it last."""
    manifest = read_manifest(files.repository / MANIFEST)
    described = manifest.setdefault("files", {})
    described.update({str(path): describe_file(files.path(path)) for path in order})
    for path in remove:
        described.pop(str(path), None)
    manifest.pop("precision", None)
    if precision is not None:
        manifest["precision"] = precision
    write_json(files.path(MANIFEST), manifest)
    files.commit([*order, MANIFEST], remove=remove)


def _copy(source: Path, target: Path) -> None:
    try:
        target.hardlink_to(source)
    except OSError:  # a file system without hard links
        shutil.copyfile(source, target)
