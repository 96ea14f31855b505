"""``make demo``: export the checkpoint, start Triton, transcribe and score ``samples/``, stop the server.

Nothing is left running, whichever way it ends. Exit code 1 with one line on standard error where something is missing.
"""

import argparse
import signal
import sys
from pathlib import Path
from types import FrameType
from typing import NoReturn

from scripts.command import run
from scripts.repository import ROOT, export, shrota
from shrota_server import TritonServer


def stop(_number: int, _frame: FrameType | None) -> NoReturn:
    """Ends the demo on SIGTERM as on Ctrl-C."""
    raise KeyboardInterrupt


def main() -> None:
    """Runs the demo."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--checkpoint", default=str(ROOT / "models" / "hindi-small"))
    parser.add_argument("--repository", type=Path, default=ROOT / ".cache" / "demo" / "model_repository")
    parser.add_argument("--manifest", default=str(ROOT / "samples" / "manifest.jsonl"))
    arguments = parser.parse_args()
    signal.signal(signal.SIGTERM, stop)
    export(arguments.checkpoint, arguments.repository)
    print("starting Triton", file=sys.stderr, flush=True)
    with TritonServer(arguments.repository, models=["asr", "acoustic_onnx"]) as server:
        print(
            f"Triton serves asr on {server.grpc_url} (gRPC) and {server.http_url} (HTTP)", file=sys.stderr, flush=True
        )
        shrota("score", arguments.manifest, "--server", server.grpc_url, "--details")


if __name__ == "__main__":
    run(main)
