"""The machine, the date and the versions that stand beside every number."""

import os
import platform
from collections.abc import Sequence
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any


def _processor_fields() -> dict[str, str]:
    """What the kernel says of the last processor."""
    information = Path("/proc/cpuinfo")
    text = information.read_text(encoding="utf-8") if information.is_file() else ""
    fields = dict(line.split(":", 1) for line in text.splitlines() if ":" in line)
    return {name.strip(): value.strip() for name, value in fields.items()}


def processor() -> str:
    """The processor's name, as the kernel gives it."""
    return _processor_fields().get("model name") or platform.processor() or platform.machine()


def describe_host(libraries: Sequence[str]) -> dict[str, Any]:
    """This machine, now, in plain types, with the versions of Python and these distributions."""
    return {
        "processor": processor(),
        "extensions": extensions(),
        "cores": cores(),
        "memory_gib": os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30,
        "date": datetime.now(UTC).date().isoformat(),
        "versions": {"python": platform.python_version(), **{name: version(name) for name in libraries}},
    }


def extensions() -> list[str]:
    """Of the processor's vector extensions those that matter here."""
    flags = _processor_fields().get("flags", "").split()
    return [flag for flag in ("avx2", "avx512f", "avx512_vnni", "avx512_bf16", "amx_bf16") if flag in flags]


def cores() -> int:
    """That this process may use."""
    return len(os.sched_getaffinity(0))


def available_memory() -> int:
    """Bytes that a new program could have, as the kernel reckons (``MemAvailable``)."""
    for line in Path("/proc/meminfo").read_text(encoding="utf-8").splitlines():
        if line.startswith("MemAvailable:"):
            return int(line.split()[1]) * 1024
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_AVPHYS_PAGES")


def host_line(host: dict[str, Any]) -> str:
    """In one line."""
    versions = ", ".join(f"{name} {value}" for name, value in host["versions"].items())
    gpu = f"; {host['gpu']}" if host.get("gpu") else ""
    return (
        f"{host['processor']} ({', '.join(host['extensions']) or 'no vector extension known'}), {host['cores']} "
        f"cores, {host['memory_gib']:.0f} GiB{gpu}; {host['date']}; {versions}"
    )
