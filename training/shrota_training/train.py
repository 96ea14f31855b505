"""Train `models/hindi-small` from nothing with CTC (Graves et al., 2006) for a given number of minutes.

The learning rate follows the share of the time that has passed, so that a run always ends with a finished schedule.
Several GPUs: `torchrun --nproc-per-node 2 -m shrota_training.train ...`; each has all the speech and its own batches.
"""

import argparse
import hashlib
import json
import math
import os
import time
from collections.abc import Iterator
from pathlib import Path

import torch
from torch import Tensor, distributed
from torch.autograd import DeviceType
from transformers import Wav2Vec2ForCTC

from shrota_training.augment import CLEAN, USUAL
from shrota_training.batches import Batch, BatchMaker, Clip, Source, batch_shapes, load_speech
from shrota_training.command import at_least, run
from shrota_training.model import Shape, count_parameters, load_vocab, make_config, save_checkpoint
from shrota_training.muon import Muon
from shrota_training.passes import AllPasses, Gradients, mixed
from shrota_training.recogniser import Recogniser, frames_of, greedy, losses_of

WARM_UP = 0.04
AGREE_STEPS = 8  # from one look at the clock to the next
MASK_FROM = 0.06  # masking begins when this share of the run is over: CTC must first leave its all-blank plateau
PROFILE_WARM_UP, PROFILE_STEPS = 40, 10
SHORT_UNTIL = 0.05  # until this share of the run, rows are at most 6 s long: alignment is found sooner in short ones


def edit_distance(left: list[int], right: list[int]) -> int:
    """Return the Levenshtein distance."""
    row = list(range(len(right) + 1))
    for i, a in enumerate(left, 1):
        previous, row[0] = row[0], i
        for j, b in enumerate(right, 1):
            previous, row[j] = row[j], min(row[j] + 1, row[j - 1] + 1, previous + (a != b))
    return row[-1]


def development_error(model: Wav2Vec2ForCTC, batches: Iterator[Batch]) -> float:
    """Return the character error rate over some batches of single utterances."""
    recogniser = Recogniser(model).eval()
    errors = length = 0
    for batch in batches:
        frames = frames_of(model, batch.samples)
        device = batch.audio.device
        with torch.inference_mode(), mixed(device):
            log_probs, _ = recogniser(batch.audio, frames.to(device), torch.zeros((), device=device))
        references = torch.split(batch.tokens.cpu(), batch.token_counts.tolist())
        for reference, guess in zip(references, greedy(log_probs, frames), strict=True):
            errors += edit_distance(reference.tolist(), guess)
            length += len(reference)
    return errors / length


class Average:
    """An exponential moving average of a model's weights, which is what gets saved."""

    def __init__(self, model: Wav2Vec2ForCTC, longest: float) -> None:
        self.longest = longest
        self.model = Wav2Vec2ForCTC(model.config).to(next(model.parameters()).device)
        self.model.load_state_dict(model.state_dict())
        self.model.requires_grad_(requires_grad=False)
        self.own, self.followed = list(self.model.parameters()), list(model.parameters())
        self.steps = 0

    def update(self) -> None:
        """Move the average a little towards the model."""
        self.steps += 1
        decay = min(1 - 1 / self.longest, self.steps / (self.steps + 10))
        with torch.no_grad():
            torch._foreach_lerp_(self.own, self.followed, 1 - decay)


def optimisers_of(model: Wav2Vec2ForCTC, rate: float, muon_rate: float) -> list[torch.optim.Optimizer]:
    """Return AdamW for what learns, with weight decay on matrices only; at a rate above 0, Muon for the encoder's."""
    learning = {name: p for name, p in model.named_parameters() if p.requires_grad}
    inner = [p for name, p in learning.items() if muon_rate > 0 and p.dim() == 2 and ".encoder.layers." in name]
    others = [p for p in learning.values() if all(p is not matrix for matrix in inner)]
    groups = [
        {"params": [p for p in others if p.dim() > 1], "weight_decay": 0.02},
        {"params": [p for p in others if p.dim() <= 1], "weight_decay": 0.0},
    ]
    fused = next(model.parameters()).is_cuda
    adam = torch.optim.AdamW(groups, lr=rate, betas=(0.9, 0.98), eps=1e-8, fused=fused)
    optimisers = [adam, *([Muon(inner, muon_rate)] if inner else [])]
    for group in (group for optimiser in optimisers for group in optimiser.param_groups):
        group["peak"] = group["lr"]
    return optimisers


def origin(checkpoint: Path | None) -> str:
    """Return what a run's state keeps of the checkpoint that it began with, wherever that lies."""
    if checkpoint is None:
        return "random weights"
    return f"a checkpoint of SHA-256 {hashlib.sha256((checkpoint / 'model.safetensors').read_bytes()).hexdigest()[:12]}"


def set_dropout(model: Wav2Vec2ForCTC, share: float) -> None:
    """Train with this dropout wherever the configuration, which stays as it is, has some; attention gets none."""
    for module in model.modules():
        if isinstance(module, torch.nn.Dropout) and module.p > 0:
            module.p = share
    for layer in model.wav2vec2.encoder.layers:
        layer.attention.dropout = 0.0


def learning_rate(progress: float, peak: float) -> float:
    """Linear warm-up, then a cosine to 1 % of the peak."""
    if progress < WARM_UP:
        return peak * max(progress / WARM_UP, 0.01)
    falling = (progress - WARM_UP) / (1 - WARM_UP)
    return peak * (0.01 + 0.99 * 0.5 * (1 + math.cos(math.pi * min(1.0, falling))))


class Machines:
    """The processes that train together, each with its GPU, as torchrun starts them; one alone without it."""

    def __init__(self) -> None:
        self.rank, self.count = int(os.environ.get("RANK", "0")), int(os.environ.get("WORLD_SIZE", "1"))
        self.device = f"cuda:{os.environ.get('LOCAL_RANK', '0')}" if torch.cuda.is_available() else "cpu"
        if self.device != "cpu":
            torch.cuda.set_device(self.device)
        if self.count > 1:
            distributed.init_process_group("nccl" if torch.cuda.is_available() else "gloo")
            # what is agreed on through the CPU does not wait for the GPU
            self.clock = distributed.new_group(backend="gloo")

    @property
    def first(self) -> bool:
        """Whether this process is the one that reports and saves."""
        return self.rank == 0

    def average(self, numbers: Tensor) -> None:
        """Replace numbers by their mean over the processes."""
        if self.count > 1:
            distributed.all_reduce(numbers)
            numbers.div_(self.count)

    def agree(self, number: float) -> float:
        """Return the first process's number: learning rates and endings must be the same everywhere."""
        if self.count == 1:
            return number
        shared = torch.tensor([number], dtype=torch.float64)
        distributed.broadcast(shared, 0, group=self.clock)
        return float(shared)

    def finish(self) -> None:
        """Wait until all processes have come here, and part."""
        if self.count > 1:
            distributed.barrier(group=self.clock)
            distributed.destroy_process_group()


class Trainer:
    """The model, its average, the optimiser and how far they have come; saved to and restored from a folder."""

    def __init__(self, arguments: argparse.Namespace, machines: Machines) -> None:
        self.arguments = arguments
        self.device = machines.device
        shape = arguments.shape
        model = Wav2Vec2ForCTC(make_config(shape.extractor, shape.width, shape.layers, shape.feed_forward))
        if arguments.from_checkpoint:
            if not (arguments.from_checkpoint / "config.json").is_file():
                message = f"no checkpoint in {arguments.from_checkpoint}"
                raise FileNotFoundError(message)
            model = Wav2Vec2ForCTC.from_pretrained(arguments.from_checkpoint, dtype=torch.float32)
        self.model = model.to(self.device).train()
        if arguments.keep_extractor:
            self.model.freeze_feature_encoder()
        set_dropout(self.model, arguments.dropout)
        self.average = Average(self.model, arguments.average_steps)
        self.optimisers = optimisers_of(self.model, arguments.rate, arguments.muon_rate)
        self.done_s, self.steps = 0.0, 0
        self.state_path: Path = arguments.output / "state.pt"
        if self.state_path.exists():
            state = torch.load(self.state_path, map_location=self.device)
            if state["from_checkpoint"] != origin(arguments.from_checkpoint):
                raise SystemExit(
                    f"train: the run in {arguments.output} began with {state['from_checkpoint']}, "
                    f"not with {origin(arguments.from_checkpoint)}: name another --output"
                )
            self.model.load_state_dict(state["model"])
            self.average.model.load_state_dict(state["average"])
            for optimiser, saved in zip(self.optimisers, state["optimisers"], strict=True):
                optimiser.load_state_dict(saved)
            self.done_s, self.steps, self.average.steps = state["done_s"], state["steps"], state["steps"]
            if self.done_s >= arguments.minutes * 60:
                raise SystemExit(
                    f"train: the run in {arguments.output} is over: name another --output, or more --minutes"
                )
            if machines.first:
                say(f"going on from step {self.steps} of the run in {arguments.output}")
        self.mask, self.no_mask = (torch.tensor(share, device=self.device) for share in (arguments.mask_share, 0.0))
        self.machines = machines
        self.gradients = Gradients(list(self.model.parameters()))
        recogniser = Recogniser(self.model, compiled=arguments.compile).train()
        self.passes = AllPasses(recogniser, self.gradients, record=arguments.record)
        arguments.output.mkdir(parents=True, exist_ok=True)

    def prepare(self) -> None:
        """Record the passes of all shapes of batches, before the processes begin to talk to each other's GPUs."""
        for shape in batch_shapes(self.arguments.batch_s):
            self.passes.of(shape)

    def step(self, batch: Batch, progress: float) -> Tensor:
        """Learn from one batch; return its loss."""
        beginning = progress < MASK_FROM and not self.arguments.from_checkpoint
        passes = self.passes.of((batch.audio.shape[0], batch.audio.shape[1]))
        log_probs = passes.forward(batch.audio, self.no_mask if beginning else self.mask)
        losses = losses_of(log_probs, frames_of(self.model, batch.samples), batch)
        share = self.arguments.middle_share
        ((1 - share) * losses[0] + share * losses[1]).backward()
        passes.backward(log_probs.grad)
        self.machines.average(self.gradients.flat)
        self.gradients.limit(1.0)
        for optimiser in self.optimisers:
            for group in optimiser.param_groups:
                group["lr"] = learning_rate(progress, group["peak"])
            optimiser.step()
        self.average.update()
        self.steps += 1
        return losses[0].detach()

    def check(self, maker: BatchMaker, development: dict[str, list[Clip]], elapsed_s: float) -> None:
        """Report the development errors of the averaged weights, and save everything."""
        errors = {name: development_error(self.average.model, maker.plain(c)) for name, c in development.items()}
        listed = ", ".join(f"{name} {100 * error:.2f} %" for name, error in errors.items())
        say(f"{elapsed_s:.0f} s: step {self.steps}, development CER {listed}")
        folder: Path = self.arguments.output
        save_checkpoint(self.average.model, self.arguments.vocab, folder / "checkpoint")
        models = {"model": self.model.state_dict(), "average": self.average.model.state_dict()}
        optimisers = [optimiser.state_dict() for optimiser in self.optimisers]
        state = models | {"optimisers": optimisers, "done_s": elapsed_s, "steps": self.steps}
        state["from_checkpoint"] = origin(self.arguments.from_checkpoint)
        torch.save(state, folder / "state.new")
        (folder / "state.new").rename(self.state_path)
        with (folder / "log.jsonl").open("a", encoding="utf-8") as log:
            row = {"elapsed_s": round(elapsed_s), "steps": self.steps, "development_cer": errors}
            log.write(json.dumps(row) + "\n")


class Meter:
    """Sums losses and audio between two reports, without waiting for the GPU at each step."""

    def __init__(self, processes: int) -> None:
        self.processes = processes
        self.since = time.time()
        self.losses: list[Tensor] = []
        self.audio_s = 0.0

    def report(self, elapsed_s: float, steps: int) -> None:
        """Print the mean loss and the speed, and begin anew."""
        loss = torch.stack(self.losses).mean().item()
        speed = self.processes * self.audio_s / (time.time() - self.since)
        say(f"{elapsed_s:.0f} s: step {steps}, loss {loss:.3f}, {speed:.0f} s of audio a second")
        self.since, self.losses, self.audio_s = time.time(), [], 0.0


def train(arguments: argparse.Namespace, machines: Machines) -> None:
    """Run the training loop; write the log and, from time to time, the checkpoint and the state to go on from."""
    torch.manual_seed(1)
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = True
    speech = load_speech(arguments.speech, load_vocab(arguments.vocab), machines.device)
    trainer = Trainer(arguments, machines)
    torch.manual_seed(1 + machines.rank)  # the same weights everywhere until here, another dropout from here on
    if machines.first:
        size, kept = count_parameters(trainer.model), {name: len(clips) for name, clips in speech.development.items()}
        say(f"{size} parameters, {len(set(speech.training))} clips, {speech.hours():.2f} h; for development {kept}")
    strengths = (CLEAN,) if arguments.clean else (USUAL, CLEAN)
    seed = trainer.steps * machines.count + machines.rank
    maker = BatchMaker(speech.samples, arguments.batch_s, seed=seed, strengths=strengths, pace=trainer.steps)
    start = last_check = time.time()
    trainer.prepare()
    meter = Meter(machines.count)
    here_s = 0.0
    for batch in maker.training(speech.training):
        if trainer.steps % AGREE_STEPS == 0 or not here_s:
            here_s = machines.agree(time.time() - start)
        elapsed_s = trainer.done_s + here_s
        progress = elapsed_s / (arguments.minutes * 60)
        if progress >= 1 or here_s > arguments.stop_after_s or trainer.steps >= arguments.max_steps:
            break
        maker.longest_row_s = 6.0 if progress < SHORT_UNTIL and not arguments.from_checkpoint else 20.0
        meter.losses.append(trainer.step(batch, progress))
        meter.audio_s += batch.audio.numel() / 16_000
        if machines.first and time.time() - meter.since > arguments.report_s:
            meter.report(elapsed_s, trainer.steps)
        if machines.first and time.time() - last_check > arguments.check_s:
            trainer.check(maker, speech.development, elapsed_s)
            last_check = time.time()
    if machines.first:
        trainer.check(maker, speech.development, trainer.done_s + time.time() - start)
    machines.finish()


def profile(arguments: argparse.Namespace, machines: Machines) -> None:
    """Print where the time of some steps goes, by kernel, and how much of it the GPU was busy."""
    speech = load_speech(arguments.speech, load_vocab(arguments.vocab), machines.device)
    trainer = Trainer(arguments, machines)
    trainer.prepare()
    batches = BatchMaker(speech.samples, arguments.batch_s, seed=0).training(speech.training)
    for _ in range(PROFILE_WARM_UP):
        trainer.step(next(batches), 0.5)
    on_gpu = speech.samples.is_cuda
    kind = torch.profiler.ProfilerActivity.CUDA if on_gpu else torch.profiler.ProfilerActivity.CPU
    with torch.profiler.profile(activities=[kind]) as recorded:  # both kinds at once take minutes to sum up
        start, audio_s = time.time(), 0.0
        for _ in range(PROFILE_STEPS):
            batch = next(batches)
            audio_s += batch.audio.numel() / 16_000
            trainer.step(batch, 0.5)
        if on_gpu:
            torch.cuda.synchronize()
        elapsed_s = time.time() - start
    totals = recorded.key_averages()
    # operators on the CPU carry the time of their kernels, which have rows of their own
    kernels = [row for row in totals if row.device_type == DeviceType.CUDA and not row.is_user_annotation]
    busy_s = sum(row.self_device_time_total for row in kernels) / 1e6
    order = "self_cuda_time_total" if on_gpu else "self_cpu_time_total"
    say(totals.table(sort_by=order, row_limit=40, max_name_column_width=70))
    say(f"{PROFILE_STEPS} steps, {audio_s / elapsed_s:.0f} s of audio a second; GPU busy {busy_s / elapsed_s:.0%}")


def say(line: str) -> None:
    """Print at once."""
    print(line, flush=True)


def main() -> None:
    """Train."""
    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument(
        "--speech", type=Source.parse, action="append", required=True, help="FOLDER[:TIMES]; may be given more often"
    )
    parser.add_argument("--vocab", type=Path, required=True)
    parser.add_argument("--output", type=Path, required=True)
    parser.add_argument("--minutes", type=float, required=True, help="length of the whole schedule")
    parser.add_argument("--from-checkpoint", type=Path, help="a checkpoint to begin with, instead of random weights")
    parser.add_argument("--stop-after-s", type=float, default=1e9, help="stop earlier; the next run goes on from here")
    parser.add_argument("--max-steps", type=int, default=10**9)
    parser.add_argument("--batch-s", type=float, default=400.0)
    parser.add_argument("--rate", type=float, default=1e-3)
    parser.add_argument("--clean", action="store_true", help="little augmentation: no rooms, no telephones")
    parser.add_argument("--keep-extractor", action="store_true", help="do not train the convolutions on the waveform")
    parser.add_argument("--dropout", type=float, default=0.05, help="0 is much faster on a CPU")
    parser.add_argument(
        "--mask-share", type=at_least(0.0, 0.9), default=0.06, help="of the frames that are hidden, in spans of ten"
    )
    parser.add_argument("--average-steps", type=float, default=1000.0, help="steps that the saved weights average over")
    parser.add_argument("--middle-share", type=float, default=0.3, help="share of the loss that the middle layer has")
    parser.add_argument("--report-s", type=float, default=10.0)
    parser.add_argument("--check-s", type=float, default=60.0)
    parser.add_argument("--compile", action="store_true", help="let torch.compile join operations, for a GPU")
    parser.add_argument("--record", action="store_true", help="play the passes back as CUDA graphs")
    parser.add_argument("--muon-rate", type=float, default=0.0, help="above 0: Muon for the encoder's matrices")
    parser.add_argument("--shape", type=Shape.parse, default=Shape(), help="WIDTHxLAYERSxFEED-FORWARD[:CHANNELS,...]")
    parser.add_argument("--profile", action="store_true", help="only show where the time of a step goes")
    arguments = parser.parse_args()
    (profile if arguments.profile else train)(arguments, Machines())


if __name__ == "__main__":
    run("train", main)
