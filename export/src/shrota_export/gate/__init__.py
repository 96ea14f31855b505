"""The gate: no graph or plan takes the place of another before both were compared on speech.

An export calls it like this, before it installs anything::

    reference = open_subject(repository / "acoustic_onnx/1/model.onnx")
    candidate = reference.beside("fp16 plan", engine, Precision.FP16)
    report = check(candidate, reference, read_speech(Path("samples/manifest.jsonl"), reference))
    report.raise_for_failures()                    # GateError, one line
    manifest["gate"] = report.as_dict()

``engine`` is any function AUDIO [B, T], NUM_SAMPLES [B, 1] -> LOG_PROBS [B, F, V], NUM_FRAMES [B, 1].
"""

from shrota_export.gate.check import check
from shrota_export.gate.report import Report
from shrota_export.gate.speech import Spoken, read_speech
from shrota_export.gate.subject import Subject, open_subject
from shrota_export.gate.thresholds import Thresholds

__all__ = ["Report", "Spoken", "Subject", "Thresholds", "check", "open_subject", "read_speech"]
