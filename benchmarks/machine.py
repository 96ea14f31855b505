"""The machine, the date and the versions that stand beside every number."""

import datetime as dt
import os
import platform
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path


def processor() -> str:
    """The processor's name, as the kernel gives it."""
    for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()


@dataclass(frozen=True)
class Machine:
    """Where and when a number was measured."""

    processor: str
    cores: int
    memory_gib: float
    date: str
    versions: dict[str, str]

    @classmethod
    def here(cls) -> "Machine":
        """This machine, now."""
        names = ("torch", "onnxruntime", "tritonclient", "nvidia-pytriton", "numpy")
        return cls(
            processor=processor(),
            cores=len(os.sched_getaffinity(0)),
            memory_gib=os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30,
            date=dt.datetime.now(dt.UTC).date().isoformat(),
            versions={"python": platform.python_version(), **{name: version(name) for name in names}},
        )

    def line(self) -> str:
        """One line of Markdown."""
        versions = ", ".join(f"{name} {number}" for name, number in self.versions.items())
        return (
            f"{self.processor}, {self.cores} cores, {self.memory_gib:.0f} GiB; {self.date}; {versions}; "
            "Triton embedded (nvidia-pytriton's tritonserver)"
        )
