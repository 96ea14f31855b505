"""What the backends here read alike from a model's ``config.pbtxt``: parameters, instances, threads."""

import math
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

CGROUP_CPU_LIMIT = Path("/sys/fs/cgroup/cpu.max")
LONGEST_LINE = 300


class SettingsError(ValueError):
    """A setting in ``config.pbtxt`` that cannot be used; names it."""


def read_parameters(config: Mapping[str, Any]) -> dict[str, str]:
    """The model's parameters by name."""
    return {key: str(value.get("string_value", "")) for key, value in config.get("parameters", {}).items()}


def read_count(parameters: Mapping[str, str], name: str) -> int:
    """A parameter that counts threads; 0, the default, if it is not given.

    Raises:
        SettingsError: it is no such number.
    """
    text = parameters.get(name, "0")
    if not text.isascii() or not text.isdigit():
        raise SettingsError(f"parameter {name} is {text!r}: it must be a count of threads, 0 for the default")
    return int(text)


def count_instances(config: Mapping[str, Any]) -> int:
    """How many instances a model has, at least 1."""
    return sum(max(1, int(group.get("count", 1))) for group in config.get("instance_group", [])) or 1


def default_threads(instances: int) -> int:
    """Threads of one of ``instances`` engines: its share of the processors that this process may use."""
    return max(1, available_processors() // max(1, instances))


def available_processors(cgroup_limit: Path = CGROUP_CPU_LIMIT) -> int:
    """Processors that this process may run on, or a container's share of them if that is less; at least 1."""
    processors = len(os.sched_getaffinity(0))
    try:
        quota, period = cgroup_limit.read_text(encoding="ascii").split()
        share = math.ceil(int(quota) / int(period))
    except (OSError, ValueError):  # no cgroup version 2, or "max": no limit
        return processors
    return max(1, min(processors, share))


def shortened(text: str) -> str:
    """A text in one line, cut to a readable length."""
    line = " ".join(text.split())
    return line if len(line) <= LONGEST_LINE else line[: LONGEST_LINE - 3] + "..."
