"""``manifest.json`` beside an exported graph: what it was made from, with what, and how far it was checked."""

import hashlib
import json
from collections import Counter
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import onnx

LIBRARIES = ("shrota-export", "torch", "transformers", "onnx", "onnxruntime")
COUNTED = ("LayerNormalization", "MatMul", "Conv", "Gemm", "Softmax")


@dataclass(frozen=True)
class Settings:
    """What, beside the checkpoint, decides how a graph looks."""

    exporter: str
    opset: int

    def as_json(self) -> dict[str, Any]:
        """With the versions of the libraries that write the graph."""
        return {"exporter": self.exporter, "opset": self.opset, "versions": {name: version(name) for name in LIBRARIES}}


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


def is_exported(repository: Path, manifest: Path, checkpoint_sha256: str, settings: Settings) -> bool:
    """Whether ``repository`` holds, whole, what this checkpoint and these settings give."""
    try:
        content = json.loads((repository / manifest).read_text(encoding="utf-8"))
        same = content["checkpoint"]["sha256"] == checkpoint_sha256 and content["settings"] == settings.as_json()
        files = content["files"].items()
        return same and all((repository / name).stat().st_size == file["bytes"] for name, file in files)
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return False
