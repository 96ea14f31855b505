"""Everything that the export raises on purpose; each is one line that says what to do.

::

    ShrotaError
    └── ExportError
        ├── CheckpointError    (ValueError)   not a checkpoint that can be exported
        ├── RandomCheckpointError (ValueError)  a random checkpoint that cannot be made
        ├── HubError           (OSError)      the hub cannot be reached, or has no such checkpoint
        ├── LanguageModelError (ValueError)   no KenLM model, or not one for the checkpoint's tokens
        ├── PlanError          (RuntimeError) TensorRT is missing, or cannot build a plan of the graph here
        ├── ReportError        (ValueError)   a report that cannot be made, or a file that is none
        ├── RepositoryError    (OSError)      no model repository, or one that cannot be written
        ├── GateSettingError   (ValueError)   a threshold of the gate that there is not
        ├── GraphError         (ValueError)   no ONNX graph of an engine, or one that a pass does not support
        ├── SpeechError        (ValueError)   no speech to verify with
        └── VerificationError  (ArithmeticError)  the exported graph differs from the checkpoint
            └── GateError                     a graph differs from the one that it shall replace
"""

from shrota_client.errors import ShrotaError


class ExportError(ShrotaError):
    """Base of what goes wrong on the way from a checkpoint to a model repository."""


class CheckpointError(ExportError, ValueError):
    """The checkpoint is not a raw-waveform CTC model of the wav2vec 2.0 family, or is broken."""

    def __init__(self, name: str, reason: str) -> None:
        super().__init__(f"cannot export {name!r}: {reason}")


class RandomCheckpointError(ExportError, ValueError):
    """A checkpoint with random weights cannot be made: its shape is impossible, or its folder cannot be written."""

    def __init__(self, name: str, reason: str) -> None:
        super().__init__(f"cannot make {name!r}: {reason}")


class HubError(ExportError, OSError):
    """A checkpoint that is not a local folder could not be had from the Hugging Face hub."""

    def __init__(self, name: str, reason: str) -> None:
        super().__init__(f"cannot get {name!r} from the Hugging Face hub: {reason}")


class LanguageModelError(ExportError, ValueError):
    """A file is no whole KenLM model, or its words cannot be spelled with the checkpoint's tokens."""

    def __init__(self, name: str, reason: str) -> None:
        super().__init__(f"cannot install the language model {name!r}: {reason}")


class PlanError(ExportError, RuntimeError):
    """TensorRT is missing, or cannot build a plan of the graph on this machine."""


class ReportError(ExportError, ValueError):
    """A report cannot be made or read, or a section that it shall have does not exist."""


class RepositoryError(ExportError, OSError):
    """The model repository is not there or cannot be written."""


class GateSettingError(ExportError, ValueError):
    """A threshold of the gate that does not exist, or is no number."""


class GraphError(ExportError, ValueError):
    """A file is no ONNX graph of an engine, or holds what the passes over graphs do not support."""


class SpeechError(ExportError, ValueError):
    """The speech that the export verifies itself with is missing or cannot be read."""


class VerificationError(ExportError, ArithmeticError):
    """The exported graph does not give what the checkpoint gives; nothing was written to the repository."""


class GateError(VerificationError):
    """A graph does not give what the one gives that it shall replace; nothing was installed."""
