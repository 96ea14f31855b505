"""The client's wheel in a bare environment: it installs, brings no PyTorch, and works.

The environment with the wheel's dependencies is kept in ``.cache/`` and made again when they change; the wheel itself
is built and installed anew every time.
"""

import hashlib
import json
import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import numpy as np
import pytest
import soundfile

ROOT = Path(__file__).resolve().parents[2]
CONSTRAINTS = ROOT / "constraints.txt"

pytestmark = pytest.mark.timeout(900)


def run(*command: str | Path) -> str:
    """Standard output of a command that must succeed."""
    # nothing of the environment that runs the tests may reach the bare one
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("PYTHON", "VIRTUAL_ENV"))}
    done = subprocess.run(command, capture_output=True, encoding="utf-8", env=environment, check=False)
    assert done.returncode == 0, f"{command} failed:\n{done.stdout}\n{done.stderr}"
    return done.stdout


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    source = tmp_path_factory.mktemp("source") / "client"
    # a copy: building leaves folders beside the sources
    shutil.copytree(ROOT / "client", source, ignore=shutil.ignore_patterns("*.egg-info", "build", "__pycache__"))
    target = source.parent / "dist"
    run(sys.executable, "-m", "build", "--wheel", "--outdir", target, source)
    (path,) = target.glob("shrota_client-*.whl")
    return path


@pytest.fixture(scope="module")
def bare(wheel: Path) -> Path:
    """Folder with the programs of an environment in which nothing but the wheel was asked for."""
    needs = (ROOT / "client" / "pyproject.toml").read_bytes() + CONSTRAINTS.read_bytes() + sys.version.encode()
    folder = ROOT / ".cache" / f"bare-client-{hashlib.sha256(needs).hexdigest()[:16]}"
    python = folder / "bin" / "python"
    pip: list[str | Path] = [python, "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
    if not (folder / "complete").exists():
        shutil.rmtree(folder, ignore_errors=True)
        run(sys.executable, "-m", "venv", folder)
        run(*pip, "--constraint", CONSTRAINTS, wheel)
        (folder / "complete").touch()
    run(*pip, "--no-deps", "--force-reinstall", wheel)
    return folder / "bin"


def test_the_wheel_holds_the_package_and_its_types(wheel: Path) -> None:
    names = zipfile.ZipFile(wheel).namelist()
    assert "shrota_client/py.typed" in names
    assert "shrota_client/transports/grpc_sync.py" in names
    assert all(name.startswith("shrota_client") for name in names)


def test_there_is_no_pytorch(bare: Path) -> None:
    script = (
        "import importlib.util; print(*(importlib.util.find_spec(name) for name in ('torch', 'transformers', 'onnx')))"
    )
    assert run(bare / "python", "-c", script).split() == ["None"] * 3


def test_the_commands_are_those_of_the_client(bare: Path) -> None:
    text = run(bare / "shrota", "--help")
    assert "transcribe" in text
    assert "score" in text
    assert "tune-decoder" in text
    assert "export" not in text
    assert "serve" not in text


def test_scoring_works_there(bare: Path, tmp_path: Path) -> None:
    manifest, hypotheses = tmp_path / "set.jsonl", tmp_path / "heard.jsonl"
    manifest.write_text('{"audio": "a.wav", "text": "मेरा नाम राम है।"}\n', encoding="utf-8")
    hypotheses.write_text('{"audio": "a.wav", "text": "मेरा काम राम है"}\n', encoding="utf-8")
    report = json.loads(run(bare / "shrota", "score", manifest, "--hypotheses", hypotheses, "--json"))
    assert report["word_error_rate"]["value"] == 0.25


def test_tuning_needs_nothing_but_the_client(bare: Path, tmp_path: Path) -> None:
    """The search for the weights loads; the decoder that they are for is the server's."""
    script = """
import sys
from shrota_client.cli import main
sys.argv = ["shrota", "tune-decoder", sys.argv[1], "--server", "127.0.0.1:9"]
try:
    main()
except SystemExit as end:
    print(end.code, sorted(name for name in sys.modules if name.startswith(("torch", "ctc_beam_decoder"))))
"""
    soundfile.write(tmp_path / "a.wav", np.zeros(16000), 16000)
    manifest = tmp_path / "set.jsonl"
    manifest.write_text('{"audio": "a.wav", "text": "राम"}', encoding="utf-8")
    assert run(bare / "python", "-c", script, manifest) == "1 []\n"


@pytest.mark.parametrize("address", ["127.0.0.1:9", "http://127.0.0.1:9"])
def test_every_transport_loads_there(bare: Path, address: str) -> None:
    script = f"""
import asyncio, io, numpy, soundfile
from shrota_client import AsyncClient, Client, ServerUnavailableError

file = io.BytesIO()
soundfile.write(file, numpy.zeros(4410), 44100, format="FLAC")
file.seek(0)
with Client({address!r}) as client:
    try:
        client.transcribe(file)
    except ServerUnavailableError as error:
        print(error)

async def run():
    async with AsyncClient({address!r}) as client:
        try:
            await client.transcribe(numpy.zeros(100))
        except ServerUnavailableError as error:
            print(error)

asyncio.run(run())
"""
    lines = run(bare / "python", "-c", script).splitlines()
    assert len(lines) == 2
    assert all(line.startswith("no server at 127.0.0.1:9: start one with `shrota serve`") for line in lines)
