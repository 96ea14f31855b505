"""Model repositories of the benchmarks' own, and the checkpoint that a number was measured with."""

import json
from dataclasses import dataclass
from pathlib import Path

from scripts.repository import ROOT, export

CACHE = ROOT / ".cache" / "bench"
BUNDLED = ROOT / "models" / "hindi-small"


@dataclass(frozen=True)
class Checkpoint:
    """What a model repository was exported from, as its manifest has it; folders of the project from its root on."""

    name: str
    sha256: str

    @classmethod
    def of(cls, repository: Path) -> "Checkpoint":
        """Reads the manifest.

        Raises:
            OSError: There is none.
        """
        path = repository / "acoustic_onnx" / "1" / "manifest.json"
        content = json.loads(path.read_text(encoding="utf-8"))["checkpoint"]
        return cls(content["name"].removeprefix(f"{ROOT}/"), content["sha256"])

    def line(self) -> str:
        """A few words of Markdown."""
        return f"checkpoint `{self.name}` (SHA-256 {self.sha256[:12]})"


def exported(name: str, checkpoint: Path | str) -> Path:
    """A model repository of the benchmarks' own that holds this checkpoint, exported anew if it or the code changed."""
    repository = CACHE / name
    export(str(checkpoint), repository)
    return repository


def bundled() -> Path:
    """One with the bundled checkpoint."""
    return exported("small", BUNDLED)
