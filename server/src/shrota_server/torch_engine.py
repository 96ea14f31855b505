"""Compares the engine in PyTorch with what is served beside it, before Triton is started."""

import json
from pathlib import Path

from shrota_server.errors import EngineError
from shrota_server.plan import exported_checkpoint

ENGINE = "acoustic_torch"


def check_torch_engine(repository: Path) -> None:
    """Says whether the engine in ``repository`` is of the checkpoint whose tokens the decoder has.

    Raises:
        EngineError: it is not, or there is none.
    """
    command = f"shrota export torch CHECKPOINT --repository {repository}"
    path = repository / ENGINE / "1" / "manifest.json"
    try:
        made_of = str(json.loads(path.read_text(encoding="utf-8"))["checkpoint"]["sha256"])
    except FileNotFoundError as error:
        raise EngineError(f"no engine at {path.parent}: run {command}") from error
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise EngineError(f"{path} cannot be read: run {command}") from error
    exported = exported_checkpoint(repository)
    if exported is not None and exported != made_of:
        raise EngineError(f"the engine at {path.parent} is of another checkpoint than the last export: run {command}")
