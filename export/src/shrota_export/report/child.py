"""Load time and memory of one backend, measured in a process of its own; what it prints is JSON.

    python -m shrota_export.report.child KIND SOURCE AUDIO

KIND is ``torch`` or ``torch-bf16`` (SOURCE is a checkpoint's folder), ``onnx`` or ``onnx-unfused`` (a graph); AUDIO is
a NumPy file [B, T].
"""

import json
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

from shrota_export.engines import Floats, Ints, open_engine
from shrota_export.errors import ReportError

Run = Callable[[Floats, Ints], object]


def measure_process(kind: str, source: Path, audio: Path) -> dict[str, float]:
    """Runs this module and reads what it prints: ``load_s``, ``peak_bytes``, both without the libraries themselves.

    Raises:
        ReportError: the process failed.
    """
    command = [sys.executable, "-m", "shrota_export.report.child", kind, str(source), str(audio)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)  # noqa: S603 - our own module
    if done.returncode:
        last = (done.stderr.strip().splitlines() or ["it was ended"])[-1]
        raise ReportError(f"the process that measures memory failed: {last}")
    found: dict[str, float] = json.loads(done.stdout)
    return found


def memory(field: str) -> int:
    """Bytes of ``VmRSS`` or ``VmHWM``, its highest value, of this process.

    The kernel's ``ru_maxrss`` would carry the parent's over.
    """
    for line in Path("/proc/self/status").read_text(encoding="utf-8").splitlines():
        if line.startswith(f"{field}:"):
            return int(line.split()[1]) * 1024
    raise ReportError("this system does not say how much memory a process holds")


def _importer(kind: str) -> Callable[[Path], Run]:
    """Imports what the backend needs; the function that it gives loads."""
    if kind.startswith("torch"):
        import torch  # noqa: PLC0415

        from shrota_export.checkpoint import find_checkpoint  # noqa: PLC0415
        from shrota_export.report.variants import pytorch_engine  # noqa: PLC0415

        torch.set_num_threads(torch.get_num_threads())
        return lambda path: pytorch_engine(find_checkpoint(str(path)), low=kind == "torch-bf16")
    return lambda path: open_engine(path, fuse=kind != "onnx-unfused")


def main() -> None:
    """Loads, runs twice, prints."""
    kind, source, audio_file = sys.argv[1], Path(sys.argv[2]), Path(sys.argv[3])
    audio = np.load(audio_file)
    lengths = np.full((len(audio), 1), audio.shape[1], np.int32)
    load = _importer(kind)
    before = memory("VmRSS")
    started = time.perf_counter()
    run = load(source)
    loaded = time.perf_counter() - started
    for _ in range(2):
        run(audio, lengths)
    json.dump({"load_s": loaded, "peak_bytes": memory("VmHWM") - before}, sys.stdout)


if __name__ == "__main__":
    main()
