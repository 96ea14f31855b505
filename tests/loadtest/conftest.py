"""Speech of the tiny engine, and a server of it, for the whole folder."""

import json
import os
from collections.abc import Iterator
from pathlib import Path

import pytest
import soundfile

from shrota_server import TritonServer
from shrota_testing.repository import ROOT, make_repository
from shrota_testing.utterances import RATE, expected_text, noise

PARTS = ("client", "export", "server", "loadtest")


@pytest.fixture(scope="session")
def speech(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A manifest of noise, which the tiny engine hears as words; its texts are what it hears."""
    folder = tmp_path_factory.mktemp("speech")
    lines = []
    for number, seconds in enumerate((0.5, 1.0, 2.5, 6.0)):
        audio = noise(seconds, number)
        soundfile.write(folder / f"{number}.wav", audio, RATE, subtype="FLOAT")
        lines.append(json.dumps({"audio": f"{number}.wav", "text": expected_text(audio)}, ensure_ascii=False))
    manifest = folder / "manifest.jsonl"
    manifest.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return manifest


@pytest.fixture(scope="session")
def tiny_repository(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model repository with the tiny engine."""
    return make_repository(tmp_path_factory.mktemp("loadtest") / "model_repository")


@pytest.fixture(scope="session")
def server(tiny_repository: Path) -> Iterator[TritonServer]:
    """A real Triton server that serves ``asr`` with the tiny engine."""
    with TritonServer(tiny_repository, models=["asr", "acoustic_onnx"]) as running:
        yield running


@pytest.fixture(scope="session")
def environment() -> dict[str, str]:
    """For subprocesses, as Locust changes the process that imports it: the parts are found as they are here."""
    paths = [str(ROOT / part / "src") for part in PARTS]
    return {**os.environ, "PYTHONPATH": os.pathsep.join(paths), "LOCUST_SKIP_MONKEY_PATCH": ""}
