"""``make sweep``: the bundled checkpoint under perf_analyzer, over load and over configuration, in at most ten minutes.

What is missing is said in one line before anything is exported.
"""

import argparse
import signal
from pathlib import Path
from types import FrameType
from typing import NoReturn

import psutil

from scripts.command import run
from scripts.repository import ROOT, export, shrota
from shrota_loadtest.perf_analyzer.program import find_program

SWEEP = (
    *("--model", "asr", "--also", "acoustic", "--also", "acoustic_onnx"),
    *("--protocol", "grpc", "--protocol", "http", "--shared-memory", "none", "--shared-memory", "system"),
    *("--concurrency", "1,4,16", "--request-rate", "4,8", "--batch", "4"),
    *("--set", "acoustic.batch_budget_seconds=20", "--set", "acoustic_onnx.instances=2", "--rounds", "3"),
    *("--seconds", "7.5", "--minutes", "8.4"),
)
"""What is asked of ``shrota sweep``. The export before it, and the last turn of a configuration once it has begun, take
their time beside its minutes."""


END_S = 30.0
"""That what was started may take to end servers and perf_analyzer."""


def stop(_number: int, _frame: FrameType | None) -> NoReturn:
    """On SIGTERM ends what was started, which would go on alone, and waits for it; then as on Ctrl-C."""
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    started = psutil.Process().children()
    for each in started:
        each.terminate()
    psutil.wait_procs(started, END_S)
    raise KeyboardInterrupt


def main() -> None:
    """Exports and sweeps."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--perf-analyzer", help="The program. [perf_analyzer on the PATH]")
    parser.add_argument("--checkpoint", default=str(ROOT / "models" / "hindi-small"))
    parser.add_argument("--repository", type=Path, default=ROOT / ".cache" / "sweep" / "model_repository")
    parser.add_argument("--output", type=Path, default=Path("build/sweep"))
    arguments = parser.parse_args()
    program = find_program(arguments.perf_analyzer).path
    signal.signal(signal.SIGTERM, stop)
    export(arguments.checkpoint, arguments.repository)
    shrota(
        *("sweep", "--repository", str(arguments.repository), *SWEEP),
        *("--manifest", str(ROOT / "samples" / "manifest.jsonl")),
        *("--perf-analyzer", program, "--output", str(arguments.output)),
    )


if __name__ == "__main__":
    run(main)
