"""Speak a plan with as many processes as the machine can feed: some share the GPUs, some use one CPU core each.

A GPU speaks many utterances of one number of tokens at once. Each process writes `speech-N.raw` (int16, 16 kHz, one
utterance after the other) and `speech-N.jsonl` (text, number of samples, whether it is for development). Any beginning
of the work is a fair mix, so it may stop at a time limit.
"""

import argparse
import json
import random
import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import multiprocessing
from torch.nn import functional

from shrota_training.command import require, run
from shrota_training.rows import Row, read_rows
from shrota_training.silence import trimmed

MAX_S = 20.0
TOKEN_S = 0.07  # about how long a token sounds at speed 1
SEED = 11
Styles = list[NDArray[np.float32]]
Speak = Callable[[Sequence[Row], Styles], Iterator[torch.Tensor]]


@dataclass(frozen=True)
class Work:
    """What every process is told."""

    model: Path
    plan: Path
    output: Path
    deadline: float
    gpu_workers: int
    batch_s: float


def batches_of(rows: Sequence[Row], batch_s: float) -> list[list[Row]]:
    """Return the rows in batches of one number of tokens and nearly one speed, about `batch_s` long, shuffled."""
    alike: dict[int, list[Row]] = defaultdict(list)
    for row in rows:
        alike[len(row["tokens"])].append(row)
    batches = []
    for tokens, group in sorted(alike.items()):
        group.sort(key=lambda row: float(row["speed"]))
        size = max(1, int(batch_s / (TOKEN_S * max(1, tokens))))
        batches += [group[start : start + size] for start in range(0, len(group), size)]
    random.Random(SEED).shuffle(batches)
    return batches


def gpu_speaker(model: Path, device: str) -> Speak:
    """Return a function that speaks a batch on a GPU at once and gives 24 kHz speech there."""
    from shrota_training.torch_onnx import TorchGraph  # noqa: PLC0415 - not needed by the CPU's processes

    torch.backends.cuda.matmul.allow_tf32 = True
    torch.backends.cudnn.allow_tf32 = True
    graph = TorchGraph(model, device)

    def speak(rows: Sequence[Row], styles: Styles) -> Iterator[torch.Tensor]:
        tokens = torch.tensor([[0, *row["tokens"], 0] for row in rows])
        speeds = torch.tensor([float(row["speed"]) for row in rows])
        yield from graph(tokens, torch.from_numpy(np.stack(styles)), speeds)

    return speak


def cpu_speaker(model: Path) -> Speak:
    """Return a function that speaks with ONNX Runtime on one core, one row after the other."""
    from shrota_training.kokoro import Kokoro  # noqa: PLC0415 - not needed by the GPU's processes

    kokoro = Kokoro(model)

    def speak(rows: Sequence[Row], styles: Styles) -> Iterator[torch.Tensor]:
        for row, style in zip(rows, styles, strict=True):
            yield torch.from_numpy(kokoro.speak(row["tokens"], style, row["speed"]))

    return speak


def style_of(voices: dict[str, Any], row: dict[str, Any]) -> Any:
    """Return the style [256] of an utterance: that of its number of tokens, blended as the plan says."""
    styles = voices[row["voice"]], voices[row["other"]]
    number = min(len(row["tokens"]), len(styles[0]) - 1)
    blend = row["blend"]
    return (1 - blend) * styles[0][number] + blend * styles[1][number]


def two_thirds(audio: torch.Tensor) -> torch.Tensor:
    """Resample 24 kHz speech [samples] to 16 kHz: every third sample of the doubled rate, below 7.6 kHz."""
    taps = torch.arange(-96, 97, device=audio.device, dtype=torch.float32)
    cutoff = 2 * 7_600 / 48_000
    kernel = 2 * cutoff * torch.sinc(cutoff * taps) * torch.hann_window(193, periodic=False, device=audio.device)
    doubled = torch.zeros(2 * len(audio), device=audio.device)
    doubled[::2] = audio
    return functional.conv1d(doubled[None, None], kernel[None, None], stride=3, padding=96)[0, 0]


def int16_of(audio: torch.Tensor) -> NDArray[np.int16] | None:
    """Return 24 kHz speech as int16 at 16 kHz, at 0.7 of full scale, without the silence at its ends.

    None if it is empty, too long or not finite.
    """
    if not 0 < len(audio) <= MAX_S * 24_000:
        return None
    speech = two_thirds(audio.float())
    peak = speech.abs().max()
    scaled = (speech * (0.7 / peak.clamp(min=1e-3)) * 32767).round().nan_to_num(0.0).to(torch.int16)
    whole = torch.cat([scaled, torch.isfinite(peak).to(torch.int16)[None]]).cpu().numpy()  # one copy, not two
    return trimmed(whole[:-1]) if whole[-1] else None


def work(worker: int, counter: Any, job: Work) -> None:
    """Take batches from the shared counter until none is left or the time is up."""
    torch.set_num_threads(1)
    batches = batches_of(read_rows(job.plan / "plan.jsonl.gz"), job.batch_s)
    with np.load(job.plan / "voices.npz") as stored:
        voices = {name: stored[name].astype(np.float32) for name in stored.files}
    if worker < job.gpu_workers:
        speak = gpu_speaker(job.model, f"cuda:{worker % torch.cuda.device_count()}")
    else:
        speak = cpu_speaker(job.model)
    raw = (job.output / f"speech-{worker}.raw").open("wb")
    index = (job.output / f"speech-{worker}.jsonl").open("w", encoding="utf-8")
    with raw, index:
        while time.time() < job.deadline:
            with counter.get_lock():
                number = counter.value
                counter.value += 1
            if number >= len(batches):
                break
            rows = batches[number]
            for row, audio in zip(rows, speak(rows, [style_of(voices, row) for row in rows]), strict=True):
                if (speech := int16_of(audio)) is not None:
                    raw.write(speech.tobytes())
                    line = {"text": row["text"], "samples": len(speech), "development": row["development"]}
                    index.write(json.dumps({**line, "voice": row["voice"]}, ensure_ascii=False) + "\n")
                if time.time() > job.deadline:
                    break
            raw.flush()
            index.flush()


def seconds_made(output: Path) -> float:
    """Return how many seconds of speech lie in the folder."""
    return sum(path.stat().st_size for path in output.glob("speech-*.raw")) / 32_000


def main() -> None:
    """Speak a plan; report the rate every few seconds."""
    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument("--model", type=Path, required=True, help="Kokoro's ONNX file")
    parser.add_argument("--plan", type=Path, required=True, help="folder of plan.jsonl.gz and voices.npz")
    parser.add_argument("--output", type=Path, required=True)
    parser.add_argument("--gpu-workers", type=int, default=0)
    parser.add_argument("--cpu-workers", type=int, default=1)
    parser.add_argument("--batch-s", type=float, default=100.0, help="how much a GPU speaks at once (seconds)")
    parser.add_argument("--limit-s", type=float, default=1e9, help="stop after this (seconds)")
    arguments = parser.parse_args()
    require(arguments.model, arguments.plan / "plan.jsonl.gz", arguments.plan / "voices.npz")
    read_rows(arguments.plan / "plan.jsonl.gz", "text", "tokens", "voice", "other", "blend", "speed", "development")
    arguments.output.mkdir(parents=True, exist_ok=True)
    if any(arguments.output.glob("speech-*")):  # it would be trained on too, whatever plan it is from
        raise SystemExit(f"synthesize: {arguments.output} holds speech already: remove it, or name another --output")
    if arguments.gpu_workers and not torch.cuda.is_available():
        raise SystemExit("synthesize: no GPU is there: leave --gpu-workers out, and set --cpu-workers")
    start = time.time()
    job = Work(
        arguments.model,
        arguments.plan,
        arguments.output,
        start + arguments.limit_s,
        arguments.gpu_workers,
        arguments.batch_s,
    )
    context = multiprocessing.get_context("spawn")
    counter = context.Value("l", 0)
    workers = range(arguments.gpu_workers + arguments.cpu_workers)
    processes = [context.Process(target=work, args=(worker, counter, job)) for worker in workers]
    for process in processes:
        process.start()
    while any(process.is_alive() for process in processes):
        time.sleep(5)
        made, elapsed = seconds_made(arguments.output), time.time() - start
        print(f"{elapsed:.0f} s: {counter.value} batches, {made / 3600:.2f} h, {made / elapsed:.1f} s/s", flush=True)
    if any(process.exitcode for process in processes):
        raise SystemExit(1)


if __name__ == "__main__":
    run("synthesize", main)
