"""The engines' ``config.pbtxt``: read and written through Triton's protobuf."""

from pathlib import Path
from typing import Any

from shrota_export.errors import RepositoryError

ENGINES = ("acoustic_onnx", "acoustic_trt")
OUTPUT = "LOG_PROBS"


def configurations_to_change(repository: Path, vocabulary_size: int) -> dict[Path, str]:
    """New texts, by path in the repository, of the engine configurations that name another vocabulary size.

    A configuration that is right already is left alone, so that its comments survive.

    Raises:
        RepositoryError: if a configuration cannot be read.
    """
    # slow to import, and only an export needs it
    from google.protobuf import text_format  # noqa: PLC0415
    from tritonclient.grpc import model_config_pb2  # noqa: PLC0415

    changed = {}
    for engine in ENGINES:
        relative = Path(engine) / "config.pbtxt"
        path = repository / relative
        if not path.is_file():
            continue
        config: Any = model_config_pb2.ModelConfig()
        try:
            text_format.Parse(path.read_text(encoding="utf-8"), config)
        except text_format.ParseError as error:
            raise RepositoryError(f"{path} is no model configuration: {error}") from error
        output = next((output for output in config.output if output.name == OUTPUT), None)
        if output is None:
            raise RepositoryError(f"{path} has no output {OUTPUT}; restore it from the source")
        if list(output.dims) != [-1, vocabulary_size]:
            output.dims[:] = [-1, vocabulary_size]
            changed[relative] = text_format.MessageToString(config)
    return changed
