"""Speak a plan with as many processes as the machine can feed: some share the GPU, some use one CPU core each.

Each process writes `speech-N.raw` (int16, 16 kHz, one utterance after the other) and `speech-N.jsonl` (text, number of
samples, whether it is for development). Any prefix of the plan is a fair mix, so the work may stop at a time limit.
"""

import argparse
import gzip
import json
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import multiprocessing
from torch.nn import functional

MAX_S = 20.0
Speak = Callable[[list[int], Any, float], torch.Tensor]


@dataclass(frozen=True)
class Work:
    """What every process is told."""

    model: Path
    plan: Path
    output: Path
    deadline: float
    gpu_workers: int


def gpu_speaker(model: Path) -> Speak:
    """Return a function that speaks on the GPU and gives 24 kHz speech there."""
    from shrota_training.torch_onnx import TorchGraph  # noqa: PLC0415 - not needed by the CPU's processes

    torch.backends.cuda.matmul.allow_tf32 = True
    torch.backends.cudnn.allow_tf32 = True
    graph = TorchGraph(model, "cuda")
    return lambda tokens, style, speed: graph(
        torch.tensor([[0, *tokens, 0]]), torch.from_numpy(style)[None], torch.tensor([speed])
    )


def cpu_speaker(model: Path) -> Speak:
    """Return a function that speaks with ONNX Runtime on one core."""
    from shrota_training.kokoro import Kokoro  # noqa: PLC0415 - not needed by the GPU's processes

    kokoro = Kokoro(model)
    return lambda tokens, style, speed: torch.from_numpy(kokoro.speak(tokens, style, speed))


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


def work(worker: int, counter: Any, job: Work) -> None:
    """Take utterances from the shared counter until none is left or the time is up."""
    torch.set_num_threads(1)
    speak = gpu_speaker(job.model) if worker < job.gpu_workers else cpu_speaker(job.model)
    with gzip.open(job.plan / "plan.jsonl.gz", "rt", encoding="utf-8") as file:
        rows = file.read().splitlines()
    with np.load(job.plan / "voices.npz") as stored:
        voices = {name: stored[name].astype(np.float32) for name in stored.files}
    raw = (job.output / f"speech-{worker}.raw").open("wb")
    index = (job.output / f"speech-{worker}.jsonl").open("w", encoding="utf-8")
    with raw, index:
        while time.time() < job.deadline:
            with counter.get_lock():
                number = counter.value
                counter.value += 1
            if number >= len(rows):
                break
            row = json.loads(rows[number])
            audio = speak(row["tokens"], style_of(voices, row), row["speed"])
            speech = two_thirds(audio.float())
            if not 0 < len(speech) <= MAX_S * 16_000 or not bool(torch.isfinite(speech).all()):
                continue
            scaled = speech * (0.7 / speech.abs().max().clamp(min=1e-3))
            raw.write((scaled * 32767).round().to(torch.int16).cpu().numpy().tobytes())
            line = {"text": row["text"], "samples": len(speech), "development": row["development"]}
            index.write(json.dumps({**line, "voice": row["voice"]}, ensure_ascii=False) + "\n")
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
    parser.add_argument("--limit-s", type=float, default=1e9, help="stop after this (seconds)")
    arguments = parser.parse_args()
    arguments.output.mkdir(parents=True, exist_ok=True)
    start = time.time()
    job = Work(arguments.model, arguments.plan, arguments.output, start + arguments.limit_s, arguments.gpu_workers)
    context = multiprocessing.get_context("spawn")
    counter = context.Value("l", 0)
    workers = range(arguments.gpu_workers + arguments.cpu_workers)
    processes = [context.Process(target=work, args=(worker, counter, job)) for worker in workers]
    for process in processes:
        process.start()
    while any(process.is_alive() for process in processes):
        time.sleep(5)
        made, elapsed = seconds_made(arguments.output), time.time() - start
        print(f"{elapsed:.0f} s: {counter.value} utterances, {made / 3600:.2f} h, {made / elapsed:.1f} s/s", flush=True)
    if any(process.exitcode for process in processes):
        raise SystemExit(1)


if __name__ == "__main__":
    main()
