"""``make demo``: export the checkpoint, start Triton, transcribe and score ``samples/``, stop the server.

Nothing is left running, whichever way it ends. Exit code 1 with one line on standard error where something is missing.
"""

import argparse
import subprocess
import sys
from pathlib import Path

from shrota_client.errors import ShrotaError
from shrota_server import TritonServer

SHROTA = Path(sys.executable).with_name("shrota")


def shrota(*arguments: str) -> None:
    """Runs ``shrota`` as a user would; ends the demo with its exit code if it fails."""
    finished = subprocess.run([str(SHROTA), *arguments], check=False)
    if finished.returncode:
        sys.exit(finished.returncode)


def main() -> None:
    """Runs the demo."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--checkpoint", required=True)
    parser.add_argument("--repository", type=Path, required=True)
    parser.add_argument("--manifest", default="samples/manifest.jsonl")
    arguments = parser.parse_args()
    shrota("export", "onnx", arguments.checkpoint, "--repository", str(arguments.repository))
    print("starting Triton", file=sys.stderr)
    with TritonServer(arguments.repository, models=["asr", "acoustic_onnx"]) as server:
        print(f"Triton serves asr on {server.grpc_url} (gRPC) and {server.http_url} (HTTP)", file=sys.stderr)
        shrota("score", arguments.manifest, "--server", server.grpc_url, "--details")


if __name__ == "__main__":
    try:
        main()
    except ShrotaError as error:
        sys.exit(f"shrota: error: {error}")
    except KeyboardInterrupt:
        sys.exit("shrota: stopped")
