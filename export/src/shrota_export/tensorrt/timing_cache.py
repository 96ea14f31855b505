"""What TensorRT measured of its kernels in earlier builds, so that the next one does not measure it again."""

import contextlib
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click

from shrota_client.gpu import Gpu
from shrota_export.tensorrt.flavours import Flavour


def usual_path(flavour: Flavour, version: str, gpu: Gpu | None) -> Path | None:
    """A file for this version and GPU in the user's cache; None where nothing is timed."""
    if not flavour.needs_gpu or gpu is None:
        return None
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    model = "-".join(gpu.name.split())
    return cache / "shrota" / f"{flavour.name}-{version}-{model}-{gpu.compute_capability}.timing"


@dataclass(frozen=True)
class TimingCache:
    """A file of timings; without a path there is none."""

    path: Path | None

    def attach(self, config: Any) -> Any:
        """Gives the builder what the file holds; the cache to save, or None.

        A file of another version or GPU is ignored by TensorRT, and one that cannot be read counts as empty.
        """
        if self.path is None:
            return None
        try:
            content = self.path.read_bytes()
        except OSError:
            content = b""
        cache = config.create_timing_cache(content)
        if cache is None or not config.set_timing_cache(cache, ignore_mismatch=False):
            cache = config.create_timing_cache(b"")
            config.set_timing_cache(cache, ignore_mismatch=False)
        return config.get_timing_cache()

    def save(self, cache: Any) -> None:
        """Writes it, whole or not at all; a failure costs time and nothing else, so it is a warning."""
        if self.path is None:
            return
        temporary = self.path.with_name(f".{self.path.name}.{os.getpid()}")
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            temporary.write_bytes(cache.serialize())
            temporary.replace(self.path)
        except OSError as error:
            with contextlib.suppress(OSError):
                temporary.unlink(missing_ok=True)
            click.echo(
                f"the timings are not kept ({error.strerror}: {self.path}): the next build takes as long", err=True
            )
