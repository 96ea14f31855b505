"""A model's ``config.pbtxt``: read and written through Triton's protobuf."""

from pathlib import Path
from typing import Any

from shrota_client.errors import ConfigurationError

CONFIGURATION = "config.pbtxt"


def read_configuration(path: Path) -> Any:
    """A ``config.pbtxt`` as Triton's protobuf.

    Raises:
        ConfigurationError: if it is missing or cannot be parsed.
    """
    # slow to import, and few commands need it
    from google.protobuf import text_format  # noqa: PLC0415
    from tritonclient.grpc import model_config_pb2  # noqa: PLC0415

    config: Any = model_config_pb2.ModelConfig()
    try:
        text_format.Parse(path.read_text(encoding="utf-8"), config)
    except OSError as error:
        raise ConfigurationError(f"{path} cannot be read ({error.strerror}); restore it from the source") from error
    except (text_format.ParseError, UnicodeDecodeError) as error:
        raise ConfigurationError(f"{path} is no model configuration: {error}") from error
    return config


def write_configuration(config: Any) -> str:
    """The text of a configuration, without the comments that it had."""
    from google.protobuf import text_format  # noqa: PLC0415

    return str(text_format.MessageToString(config))
