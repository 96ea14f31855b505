"""Compares an engine that has a ``manifest.json`` with what is served beside it, before Triton is started."""

import json
from pathlib import Path

from shrota_server.errors import EngineError
from shrota_server.plan import exported_checkpoint


def check_engine(repository: Path, engine: str, command: str) -> None:
    """Says whether an engine in ``repository`` is of the checkpoint whose tokens the decoder has.

    Args:
        repository: the model repository.
        engine: the name of its folder there.
        command: that makes it, without ``--repository``.

    Raises:
        EngineError: it is not, or there is none.
    """
    command = f"{command} --repository {repository}"
    path = repository / engine / "1" / "manifest.json"
    try:
        made_of = str(json.loads(path.read_text(encoding="utf-8"))["checkpoint"]["sha256"])
    except FileNotFoundError as error:
        raise EngineError(f"no engine at {path.parent}: run {command}") from error
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise EngineError(f"{path} cannot be read: run {command}") from error
    exported = exported_checkpoint(repository)
    if exported is not None and exported != made_of:
        raise EngineError(f"the engine at {path.parent} is of another checkpoint than the last export: run {command}")
