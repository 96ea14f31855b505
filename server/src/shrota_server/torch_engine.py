"""Compares the engine in PyTorch with what is served beside it, before Triton is started."""

from pathlib import Path

from shrota_server.engine_check import check_engine

ENGINE = "acoustic_torch"


def check_torch_engine(repository: Path) -> None:
    """Says whether the engine in ``repository`` is of the checkpoint whose tokens the decoder has.

    Raises:
        EngineError: it is not, or there is none.
    """
    check_engine(repository, ENGINE, "shrota export torch CHECKPOINT")
