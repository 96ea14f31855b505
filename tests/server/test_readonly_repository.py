"""A model repository is only read: it may be on a read-only file system."""

import os
import shutil
import signal
import subprocess
import sys
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from tritonclient.utils import InferenceServerException

from shrota_server import TritonServer
from shrota_testing.repository import make_repository
from shrota_testing.triton import infer, stub_pid, tensor, wait_until

pytestmark = pytest.mark.triton
MODELS = ["asr", "acoustic_onnx"]
# the file system is read-only for one process and its children alone
MOUNT = 'mount --bind "$0" "$0" && mount -o remount,bind,ro "$0" && exec "$@"'
UNSHARE = ["unshare", "--map-root-user", "--mount"]
SERVE = """
import sys
from pathlib import Path

from shrota_server import TritonServer

repository = Path(sys.argv[1])
try:
    (repository / "new").touch()
except OSError as error:
    print(error.strerror)
with TritonServer(repository, models=["asr", "acoustic_onnx"]) as server:
    server.restart()
    print("served")
"""


def contents(folder: Path) -> dict[str, tuple[int, int]]:
    """Every file in it: its size and the time of its last change.

    Bytecode is left out: where it may, Triton's stub lets Python keep it beside the models, whatever the environment
    says.
    """
    files = [path for path in folder.rglob("*") if path.is_file() and path.parent.name != "__pycache__"]
    return {str(path.relative_to(folder)): (path.stat().st_size, path.stat().st_mtime_ns) for path in files}


def test_nothing_in_it_changes_also_when_a_model_is_loaded_again(tmp_path: Path) -> None:
    repository = make_repository(tmp_path / "model_repository")
    for path in [repository, *repository.rglob("*")]:
        path.chmod(0o555 if path.is_dir() else 0o444)
    before = contents(repository)
    try:
        with TritonServer(repository, models=MODELS, supervise=True) as server:
            for model in ("ctc_decoder", "acoustic_onnx"):
                killed = stub_pid(server.pid, model)
                os.kill(killed, signal.SIGKILL)
                assert wait_until(partial(serves_anew, server, model, killed), 20)
        assert contents(repository) == before
    finally:
        for path in [repository, *repository.rglob("*")]:
            path.chmod(0o755)


def serves_anew(server: TritonServer, model: str, killed: int) -> bool:
    audio = np.zeros((1, 16000), np.float32)
    try:
        infer(server.grpc_url, "asr", [tensor("AUDIO", audio)], ["TRANSCRIPT"], timeout_s=1)
    except InferenceServerException:
        return False
    return stub_pid(server.pid, model) != killed


def can_mount() -> bool:
    if shutil.which("unshare") is None:
        return False
    return subprocess.run([*UNSHARE, "true"], capture_output=True, check=False).returncode == 0


@pytest.mark.skipif(not can_mount(), reason="needs the right to mount in a namespace of its own")
def test_it_serves_from_a_read_only_file_system(tmp_path: Path) -> None:
    repository = make_repository(tmp_path / "model_repository")
    command = [*UNSHARE, "sh", "-c", MOUNT, str(repository), sys.executable, "-c", SERVE, str(repository)]
    result = subprocess.run(command, capture_output=True, text=True, check=False, timeout=120)
    assert result.stdout.splitlines() == ["Read-only file system", "served"], result.stderr
