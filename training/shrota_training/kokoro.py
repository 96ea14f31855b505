"""Kokoro-82M in ONNX Runtime: text to phonemes to 24 kHz speech, on the CPU.

The int8 model, its phoneme table and the voices come from public packages (README.md says which).
"""

import hashlib
import json
import subprocess
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import onnxruntime
import soxr
from numpy.typing import NDArray

KOKORO_RATE = 24_000
SPEECH_RATE = 16_000
MODEL_SHA256 = "6e742170d309016e5891a994e1ce1559c702a2ccd0075e67ef7157974f6406cb"
MAX_TOKENS = 508  # a voice has a style for up to 510 tokens; two are the silence at either end
LINES_AT_ONCE = 100
HINDI_VOICES = ("hf_alpha", "hf_beta", "hm_omega", "hm_psi")


def phonemes(lines: Sequence[str], voice: str = "hi") -> list[str]:
    """Return espeak-ng's IPA of each line (Hindi with the schwa rule applied).

    Raises:
        FileNotFoundError: espeak-ng is not installed.
    """
    if len(lines) > LINES_AT_ONCE:
        starts = range(0, len(lines), LINES_AT_ONCE)
        return [ipa for start in starts for ipa in phonemes(lines[start : start + LINES_AT_ONCE], voice)]
    command = ["espeak-ng", "-v", voice, "--ipa", "-q"]
    answer = subprocess.run(command, input="\n".join(lines), capture_output=True, text=True, check=True).stdout
    spoken = answer.splitlines()
    if len(spoken) != len(lines):  # a long line is answered in several: halve the lot until it stands alone
        if len(lines) == 1:
            return [" ".join(spoken).replace("r.", "ɽ").replace(".", "").strip()]
        middle = len(lines) // 2
        return [*phonemes(lines[:middle], voice), *phonemes(lines[middle:], voice)]
    # espeak-ng writes the retroflex flap as "r."; in Kokoro's table the point would be a full stop.
    return [line.strip().replace("r.", "ɽ").replace(".", "") for line in spoken]


class PhonemeTable:
    """The map from phonemes to Kokoro's tokens."""

    def __init__(self, vocab_path: Path) -> None:
        self.ids: dict[str, int] = json.loads(vocab_path.read_text(encoding="utf-8"))["vocab"]

    def tokens(self, ipa: str) -> list[int]:
        """Return the tokens of an IPA string, without the silence at both ends; unknown symbols are left out."""
        return [self.ids[symbol] for symbol in ipa if symbol in self.ids][:MAX_TOKENS]


def load_voice(folder: Path, name: str) -> NDArray[np.float32]:
    """Return a voice's styles [510, 256]: row n is for an utterance of n tokens."""
    return np.fromfile(folder / f"{name}.bin", dtype=np.float32).reshape(510, 256)


def join_model(parts: Sequence[Path], target: Path) -> None:
    """Join the parts of the ONNX model into one file.

    Raises:
        ValueError: The joined file is not the model that was published.
    """
    whole = b"".join(part.read_bytes() for part in parts)
    if hashlib.sha256(whole).hexdigest() != MODEL_SHA256:
        message = f"{target.name}: the joined parts are not the Kokoro-82M model that these scripts know"
        raise ValueError(message)
    target.write_bytes(whole)


class Kokoro:
    """Speaks with the int8 model on `threads` CPU threads."""

    def __init__(self, model: Path, threads: int = 1) -> None:
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        options.log_severity_level = 3
        self.session = onnxruntime.InferenceSession(str(model), options, providers=["CPUExecutionProvider"])

    def speak(self, tokens: Sequence[int], style: NDArray[np.float32], speed: float = 1.0) -> NDArray[np.float32]:
        """Return 24 kHz speech of a row of tokens in one style [256]."""
        inputs = {
            "tokens": np.array([[0, *tokens, 0]], dtype=np.int64),
            "style": style[None].astype(np.float32),
            "speed": np.array([speed], dtype=np.float32),
        }
        audio: NDArray[np.float32] = self.session.run(None, inputs)[0].reshape(-1)
        return audio


def to_speech_rate(audio: NDArray[np.float32], peak: float = 0.7) -> NDArray[np.int16]:
    """Resample 24 kHz speech to 16 kHz, scale it to a peak, and return it as int16."""
    slow = soxr.resample(audio, KOKORO_RATE, SPEECH_RATE, quality="HQ")
    scale = peak / max(float(np.abs(slow).max()), 1e-3)
    speech: NDArray[np.int16] = np.round(slow * scale * 32767).astype(np.int16)
    return speech
