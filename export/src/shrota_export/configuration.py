"""The engines' ``config.pbtxt``: what an export changes of them."""

from pathlib import Path
from typing import Any

from shrota_client import configuration
from shrota_client.configuration import write_configuration
from shrota_client.errors import ConfigurationError
from shrota_export.errors import RepositoryError

ENGINES = ("acoustic_onnx", "acoustic_trt", "acoustic_torch", "acoustic_openvino")
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
    try:
        return configuration.read_configuration(path)
    except ConfigurationError as error:
        raise RepositoryError(str(error)) from error
