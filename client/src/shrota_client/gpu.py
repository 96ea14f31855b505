"""Which NVIDIA GPU this machine has. The export and the server ask, which depend on this package and not on each other.

The answer comes from ``nvidia-smi``, which every driver brings and NVIDIA's container runtime puts into a container: so
neither CUDA nor PyTorch has to be installed.
"""

import os
import shutil
import subprocess
from dataclasses import dataclass

QUERY = ("name", "compute_cap", "driver_version", "memory.total", "memory.free")
"""https://docs.nvidia.com/deploy/nvidia-smi, ``--help-query-gpu``; memory in MiB."""
TIMEOUT_S = 30
MIB = 2**20


@dataclass(frozen=True)
class Gpu:
    """One GPU, as its driver describes it."""

    name: str
    compute_capability: str
    """Major and minor number, as in "8.9"."""
    driver: str
    memory_bytes: int
    free_bytes: int
    """What nobody used at the time of asking."""

    def __str__(self) -> str:
        return f"{self.name} (compute capability {self.compute_capability})"


def find_gpu() -> Gpu | None:
    """The first GPU that CUDA would use here; None if there is none, or no driver that works.

    ``CUDA_VISIBLE_DEVICES`` counts: its first entry is meant, and nothing in it hides every GPU.
    """
    program = shutil.which("nvidia-smi")
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    if program is None or visible in {"", "-1"}:
        return None
    command = [program, f"--query-gpu={','.join(QUERY)}", "--format=csv,noheader,nounits"]
    first = (visible or "").split(",")[0].strip()
    if first and not first.startswith("MIG"):  # a slice has no entry of its own; its GPU is among all of them
        command.append(f"--id={first}")
    try:
        answer = subprocess.run(command, capture_output=True, text=True, timeout=TIMEOUT_S, check=True)  # noqa: S603
    except (OSError, subprocess.SubprocessError):
        return None
    return _read(answer.stdout)


def _read(table: str) -> Gpu | None:
    """The first line of nvidia-smi's table; None if it is not one."""
    lines = table.strip().splitlines()
    fields = [field.strip() for field in lines[0].split(",")] if lines else []
    if len(fields) != len(QUERY):
        return None
    name, capability, driver, total, free = fields
    try:
        return Gpu(name, capability, driver, int(total) * MIB, int(free) * MIB)
    except ValueError:  # "[N/A]": memory shared with the processor
        return Gpu(name, capability, driver, 0, 0)
