"""Load time and memory of one backend, measured in a process of its own; what it prints is JSON.

    python -m shrota_export.report.child KIND SOURCE AUDIO

KIND is ``torch``, ``torch-bf16`` or ``torch-compiled`` (SOURCE is a checkpoint's folder), ``onnx`` or ``onnx-unfused``
(a graph); AUDIO is a NumPy file [B, T].
"""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import numpy as np

from shrota_export.engines import Floats, Ints, open_engine
from shrota_export.errors import ReportError

Run = Callable[[Floats, Ints], object]


def measure_process(kind: str, source: Path, audio: Path, limit_s: float | None = None) -> dict[str, float]:
    """Runs this module and reads what it prints: ``load_s``, ``peak_bytes``, both without the libraries themselves.

    Args:
        kind: of backend.
        source: what it loads.
        audio: what it runs on.
        limit_s: seconds that it may take.

    Raises:
        ReportError: the process failed, or took too long; then it and those that it started are ended.
    """
    command = [sys.executable, "-m", "shrota_export.report.child", kind, str(source), str(audio)]
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    with subprocess.Popen(command, text=True, start_new_session=True, **pipes) as process:  # type: ignore[call-overload] # noqa: S603 - our own module
        try:
            out, err = process.communicate(timeout=limit_s)
        except BaseException as error:
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)  # compilers of its own too
            if isinstance(error, subprocess.TimeoutExpired):
                raise ReportError(f"it was given up after {limit_s:g} s") from error
            raise
    if process.returncode:
        last = (err.strip().splitlines() or ["it was ended"])[-1]
        raise ReportError(f"a process of its own failed: {last}")
    found: dict[str, float] = json.loads(out)
    return found


def memory(field: str, process: int | str = "self") -> int:
    """Bytes of ``VmRSS`` or ``VmHWM``, its highest value, of this process or the one of that number.

    The kernel's ``ru_maxrss`` would carry the parent's over.
    """
    for line in Path(f"/proc/{process}/status").read_text(encoding="utf-8").splitlines():
        if line.startswith(f"{field}:"):
            return int(line.split()[1]) * 1024
    raise ReportError("this system does not say how much memory a process holds")


def _importer(kind: str, audio: Floats) -> Callable[[Path], Run]:
    """Imports what the backend needs; the function that it gives loads, and compiles for such audio."""
    if kind.startswith("torch"):
        import torch  # noqa: PLC0415

        from shrota_export.checkpoint import find_checkpoint  # noqa: PLC0415
        from shrota_export.report.variants import pytorch_engine  # noqa: PLC0415

        torch.set_num_threads(torch.get_num_threads())
        if kind == "torch-compiled":
            import torch._inductor.compile_fx  # noqa: PLC0415

            from shrota_export.report.compiled import compile_module  # noqa: PLC0415
            from shrota_export.report.variants import pytorch_module  # noqa: PLC0415

            def load(path: Path) -> Run:
                checkpoint = find_checkpoint(str(path))
                return compile_module(pytorch_module(checkpoint), audio, checkpoint.sample_rate)

            return load
        return lambda path: pytorch_engine(find_checkpoint(str(path)), low=kind == "torch-bf16")
    return lambda path: open_engine(path, fuse=kind != "onnx-unfused")


def main() -> None:
    """Loads, runs twice, prints; what fails is said in the last line, which compilers do not do."""
    try:
        json.dump(_measure(), sys.stdout)
    except Exception as error:  # noqa: BLE001 - whatever a backend raises
        first = next((line.strip() for line in str(error).splitlines() if line.strip()), "")
        sys.exit(f"{type(error).__name__}: {first}")


def _measure() -> dict[str, float]:
    kind, source, audio_file = sys.argv[1], Path(sys.argv[2]), Path(sys.argv[3])
    audio = np.load(audio_file)
    lengths = np.full((len(audio), 1), audio.shape[1], np.int32)
    load = _importer(kind, audio)
    before = memory("VmRSS")
    started = time.perf_counter()
    run = load(source)
    loaded = time.perf_counter() - started
    for _ in range(2):
        run(audio, lengths)
    return {"load_s": loaded, "peak_bytes": memory("VmHWM") - before}


if __name__ == "__main__":
    main()
