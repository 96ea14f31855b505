"""``manifest.json`` beside an exported graph: what it was made from, with what, and how far it was checked."""

import hashlib
import json
from collections import Counter
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

from shrota_export.configuration import configurations_to_change
from shrota_export.paths import LANGUAGE_MODELS, MANIFEST, VOCABULARY

if TYPE_CHECKING:
    import onnx

LIBRARIES = ("shrota-export", "torch", "transformers", "onnx", "onnxruntime")
CODE = ("graph/*.py", "exporters.py", "frontend.py", "language_model.py", "vocabulary.py")
COUNTED = ("LayerNormalization", "MatMul", "Conv", "Gemm", "Softmax")


@dataclass(frozen=True)
class Settings:
    """What, beside the checkpoint, decides how a graph looks."""

    exporter: str
    opset: int
    target: str = "cpu"
    """see :class:`~shrota_export.graph.engine.Target`"""

    def as_json(self) -> dict[str, Any]:
        """With the versions of the libraries, and of the code here, that write the graph."""
        versions = {name: version(name) for name in LIBRARIES}
        return {
            "exporter": self.exporter,
            "opset": self.opset,
            "target": self.target,
            "versions": versions,
            "code": _hash_code(),
        }


def _hash_code() -> str:
    """Changes with the sources that decide what is written, so that a newer checkout exports again."""
    folder = Path(__file__).parent
    sources = sorted(path for pattern in CODE for path in folder.glob(pattern))
    return hashlib.sha256(b"".join(path.read_bytes() for path in sources)).hexdigest()[:12]


def count_nodes(model: "onnx.ModelProto") -> dict[str, int]:
    """How many nodes a graph has, and how many of the kinds that cost time."""
    kinds = Counter(node.op_type for node in model.graph.node)
    return {"nodes": kinds.total(), **{kind: kinds[kind] for kind in COUNTED}}


def describe_file(path: Path) -> dict[str, Any]:
    """Size and SHA-256 of a file."""
    with path.open("rb") as file:
        return {"bytes": path.stat().st_size, "sha256": hashlib.file_digest(file, "sha256").hexdigest()}


def now() -> str:
    """The time in UTC, to the second."""
    return datetime.now(UTC).isoformat(timespec="seconds")


def write_json(path: Path, content: dict[str, Any]) -> None:
    """UTF-8, readable."""
    path.write_text(json.dumps(content, ensure_ascii=False, indent=2) + "\n", encoding="utf-8")


def read_manifest(path: Path) -> dict[str, Any]:
    """A manifest's content; nothing where there is none that can be read."""
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return content if isinstance(content, dict) else {}


def exported_target(repository: Path, checkpoint_sha256: str) -> str:
    """What the checkpoint was exported for the last time; "cpu" if it was not."""
    content = read_manifest(repository / MANIFEST)
    checkpoint, settings = content.get("checkpoint"), content.get("settings")
    same = isinstance(checkpoint, dict) and checkpoint.get("sha256") == checkpoint_sha256
    return "gpu" if same and isinstance(settings, dict) and settings.get("target") == "gpu" else "cpu"


def is_exported(repository: Path, checkpoint_sha256: str, settings: Settings) -> bool:
    """Whether ``repository`` holds, whole, what this checkpoint and these settings give."""
    try:
        content = json.loads((repository / MANIFEST).read_text(encoding="utf-8"))
        if content["checkpoint"]["sha256"] != checkpoint_sha256 or content["settings"] != settings.as_json():
            return False
        if any((repository / name).stat().st_size != file["bytes"] for name, file in content["files"].items()):
            return False
        if content.get("language_model") and not any((repository / path).is_file() for path in LANGUAGE_MODELS):
            return False
        size = len(json.loads((repository / VOCABULARY).read_text(encoding="utf-8"))["tokens"])
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return False
    return not configurations_to_change(repository, size)
