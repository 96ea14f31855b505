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
    changed = {}
    for engine in ENGINES:
        relative = Path(engine) / "config.pbtxt"
        path = repository / relative
        if not path.is_file():
            continue
        config = read_configuration(path)
        output = next((output for output in config.output if output.name == OUTPUT), None)
        if output is None:
            raise RepositoryError(f"{path} has no output {OUTPUT}; restore it from the source")
        if output.dims[-1:] != [vocabulary_size]:
            output.dims[-1:] = [vocabulary_size]
            changed[relative] = write_configuration(config)
    return changed


def read_configuration(path: Path) -> Any:
    """A ``config.pbtxt`` as Triton's protobuf.

    Raises:
        RepositoryError: if it is missing or cannot be parsed.
    """
    # slow to import, and only an export needs it
    from google.protobuf import text_format  # noqa: PLC0415
    from tritonclient.grpc import model_config_pb2  # noqa: PLC0415

    config: Any = model_config_pb2.ModelConfig()
    try:
        text_format.Parse(path.read_text(encoding="utf-8"), config)
    except OSError as error:
        raise RepositoryError(f"{path} cannot be read ({error.strerror}); restore it from the source") from error
    except text_format.ParseError as error:
        raise RepositoryError(f"{path} is no model configuration: {error}") from error
    return config


def write_configuration(config: Any) -> str:
    """The text of a configuration, without the comments that it had."""
    from google.protobuf import text_format  # noqa: PLC0415

    return str(text_format.MessageToString(config))
