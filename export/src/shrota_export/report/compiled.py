"""PyTorch compiled for the processor: ``torch.compile`` with inductor, tried in a process of its own first.

Layer by layer, as PyTorch advises for models that repeat one (*regional compilation*,
https://docs.pytorch.org/tutorials/recipes/regional_compilation.html): layers alike are compiled once, which takes a
fraction of the minutes that the whole would.

That process may fail or take too long without harm; what it has compiled is kept in a folder, from which this process
takes it in seconds.
"""

import copy
import os
import shutil
import sysconfig
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import torch

from shrota_export.engines import Engine, Floats, Ints, make_batch
from shrota_export.errors import ReportError
from shrota_export.progress import step
from shrota_export.report.child import measure_process
from shrota_export.report.material import Material

KIND = "torch-compiled"
LIMIT_S = 240.0
"""For loading, compiling and two runs, in a process of its own."""
LISTS = ("feature_extractor", "layers")
MOST_GRAPHS = 64
"""Of one layer's code, for its sizes and those of the batches."""
CACHE = "TORCHINDUCTOR_CACHE_DIR"
SHAPES = ((1, 5.0), (2, 5.0), (1, 2.0), (1, 1.0))
"""Rows, and seconds of each.

Lengths and batches are dynamic, but PyTorch takes a batch of one for a case of its own, and of that again what is so
short that its convolutions would use other code (20,480 numbers in their input, or less).
"""


def why_not(environment: Mapping[str, str] = os.environ) -> str | None:
    """What inductor lacks on this machine, with the remedy; None if nothing."""
    compiler = environment.get("CXX", "g++")
    if shutil.which(compiler, path=environment.get("PATH")) is None:
        return f"torch.compile needs a C++ compiler, and there is no {compiler}: apt-get install g++, or set CXX"
    if not (Path(sysconfig.get_path("include")) / "Python.h").is_file():
        return "torch.compile needs the header Python.h: apt-get install libpython3-dev"
    return None


def batches_to_compile(audio: Floats, sample_rate: int) -> list[tuple[Floats, Ints]]:
    """The batches that a graph each is compiled for unless an earlier one fits, from one row of audio [1, T]."""
    return [make_batch([np.resize(audio[0], round(seconds * sample_rate))] * rows) for rows, seconds in SHAPES]


def compile_layers(module: torch.nn.Module) -> torch.nn.Module:
    """The same module with the layers in its :data:`LISTS` compiled; the given one stays as it is."""
    copied = copy.copy(module)
    copied._modules = {  # noqa: SLF001 - the copy would share them
        name: torch.nn.ModuleList(torch.compile(layer, dynamic=True) for layer in each) if name in LISTS else each
        for name, each in module.named_children()
    }
    return copied


def compile_module(module: torch.nn.Module, audio: Floats, sample_rate: int) -> Engine:
    """An engine of a compiled module: what fits no graph of :func:`batches_to_compile` runs uncompiled.

    Args:
        module: AUDIO [B, T], NUM_SAMPLES [B, 1] -> LOG_PROBS [B, F, V], NUM_FRAMES [B, 1], with lists of layers.
        audio: one row, for the batches.
        sample_rate: of the audio, in Hz.
    """
    compiled = compile_layers(module)

    def run(audio: Floats, lengths: Ints, stance: str = "eager_on_recompile") -> tuple[Floats, Ints]:
        with torch.compiler.set_stance(stance), torch.inference_mode():
            log_probs, num_frames = compiled(torch.from_numpy(audio), torch.from_numpy(lengths))
        return log_probs.numpy(), num_frames.numpy()

    with torch._dynamo.config.patch(recompile_limit=MOST_GRAPHS):  # noqa: SLF001 - where PyTorch documents it
        for batch in batches_to_compile(audio, sample_rate):
            run(*batch, stance="default")
    return run


@contextmanager
def cache_in(folder: Path) -> Iterator[None]:
    """What inductor compiles within goes into a folder, and comes from there."""
    before = os.environ.get(CACHE)
    os.environ[CACHE] = str(folder)
    try:
        yield
    finally:
        if before is None:
            del os.environ[CACHE]
        else:
            os.environ[CACHE] = before


def compile_engine(material: Material, limit_s: float = LIMIT_S) -> tuple[Engine, dict[str, float]]:
    """The checkpoint compiled, and what :func:`~shrota_export.report.child.measure_process` says of it.

    Raises:
        ReportError: it cannot be compiled here, or not within the limit.
    """
    reason = why_not()
    if reason is not None:
        raise ReportError(reason)
    audio = material.audio(material.seconds)[0]
    file = material.folder / "compiled.npy"
    np.save(file, audio)
    with cache_in(material.folder / "inductor"):
        with step("compile in a process of its own"):
            process = measure_process(KIND, material.checkpoint.folder, file, limit_s)
        with step("take what was compiled"):
            return compile_module(material.engine, audio, material.checkpoint.sample_rate), process
