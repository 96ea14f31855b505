"""What an exported engine gives for the samples in noise, and the decoder that reads it, without Triton."""

import sys
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnxruntime
from numpy.typing import NDArray

from benchmarks.speech import RATE, in_noise
from scripts.repository import ROOT
from shrota_client.audio import read_audio
from shrota_client.manifest import read_manifest

sys.path.append(str(ROOT / "model_repository" / "ctc_decoder" / "1"))

from shrota_decoder.decoder import Decoder
from shrota_decoder.language_model import find_language_model
from shrota_decoder.settings import Settings, read_settings
from shrota_decoder.vocabulary import Vocabulary

LogProbs = NDArray[np.float32]


@dataclass(frozen=True)
class Spoken:
    """One sample: its reference text, its log-probabilities [frames, vocabulary], its length in seconds."""

    text: str
    log_probs: LogProbs
    seconds: float


def log_probs_of(repository: Path, manifest: Path) -> list[Spoken]:
    """Runs the engine of a model repository over each sample as a whole, in noise as loud as it is."""
    engine = repository / "acoustic_onnx" / "1" / "model.onnx"
    session = onnxruntime.InferenceSession(str(engine), providers=["CPUExecutionProvider"])
    spoken = []
    for utterance in read_manifest(manifest, need_text=True):
        audio = in_noise(read_audio(utterance.audio))
        feed = {"AUDIO": audio[None], "NUM_SAMPLES": np.array([[audio.size]], np.int32)}
        (rows,) = session.run(["LOG_PROBS"], feed)
        spoken.append(Spoken(str(utterance.text), rows[0], audio.size / RATE))
    return spoken


def cut(spoken: list[Spoken], frames: int, count: int) -> list[LogProbs]:
    """Pieces of equal length, [frames, vocabulary], of everything that was said, which repeats as needed."""
    whole = np.concatenate([each.log_probs for each in spoken])
    whole = np.tile(whole, (-(-frames * count // whole.shape[0]), 1))
    return [whole[index * frames : (index + 1) * frames] for index in range(count)]


def read_decoder(repository: Path, settings: Settings | None = None) -> Decoder:
    """The decoder of a model repository, with its vocabulary and language model."""
    folder = repository / "ctc_decoder" / "1"
    vocabulary = Vocabulary.read(folder / "vocab.json")
    return Decoder(vocabulary, find_language_model(folder), settings or read_settings({}))
