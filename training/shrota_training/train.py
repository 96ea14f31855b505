"""Train `models/hindi-small` from nothing with CTC (Graves et al., 2006) for a given number of minutes.

The learning rate follows the share of the time that has passed, so that a run always ends with a finished schedule.
"""

import argparse
import json
import math
import time
from collections.abc import Iterator
from pathlib import Path

import torch
from torch import Tensor
from torch.nn import functional
from transformers import Wav2Vec2ForCTC

from shrota_training.augment import CLEAN, USUAL
from shrota_training.batches import Batch, BatchMaker, Clip, Source, load_speech
from shrota_training.model import count_parameters, load_vocab, make_config, save_checkpoint

WARM_UP = 0.04
MASK_SPAN = 10  # frames of 20 ms
MASK_SHARE = 0.06
MASK_FROM = 0.08  # masking begins when this share of the run is over: CTC must first leave its all-blank plateau
SHORT_UNTIL = 0.12  # until this share of the run, rows are at most 6 s long: alignment is found sooner in short ones


def log_probs_of(model: Wav2Vec2ForCTC, batch: Batch, mask_share: float) -> tuple[Tensor, Tensor]:
    """Return log-probabilities [rows, frames, tokens] in float32 and the valid frames [rows].

    The steps are those of Wav2Vec2ForCTC.forward; the time mask is drawn on the GPU.
    """
    encoder = model.wav2vec2
    features = encoder.feature_extractor(batch.audio).transpose(1, 2)
    frames = model._get_feat_extract_output_lengths(batch.samples)  # noqa: SLF001 - it has no public name
    hidden, _ = encoder.feature_projection(features)
    if mask_share > 0:
        starts = torch.rand(hidden.shape[:2], device=hidden.device) < mask_share / MASK_SPAN
        spread = functional.max_pool1d(functional.pad(starts.float(), (MASK_SPAN - 1, 0))[:, None], MASK_SPAN, 1)[:, 0]
        masked = encoder.masked_spec_embed.to(hidden.dtype)
        hidden = torch.where(spread[:, :, None] > 0, masked, hidden)
    valid = torch.arange(hidden.shape[1], device=hidden.device) < frames[:, None]
    hidden = encoder.encoder(hidden, attention_mask=valid)[0]
    logits = model.lm_head(model.dropout(hidden))
    return torch.log_softmax(logits.float(), -1), frames


def loss_of(log_probs: Tensor, frames: Tensor, batch: Batch) -> Tensor:
    """Return the CTC loss per token, averaged over the batch."""
    losses = functional.ctc_loss(
        log_probs.transpose(0, 1), batch.tokens, frames, batch.token_counts, reduction="none", zero_infinity=True
    )
    return losses.sum() / batch.token_counts.sum()


def greedy(log_probs: Tensor, frames: Tensor) -> list[list[int]]:
    """Return the best path's tokens of each row, without repeats and blanks."""
    lines = []
    for path, count in zip(log_probs.argmax(-1).cpu(), frames.tolist(), strict=True):
        tokens = torch.unique_consecutive(path[:count]).tolist()
        lines.append([token for token in tokens if token > 3])
    return lines


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
    model.eval()
    errors = length = 0
    for batch in batches:
        with torch.inference_mode(), torch.autocast(batch.audio.device.type, torch.bfloat16):
            log_probs, frames = log_probs_of(model, batch, 0.0)
        references = torch.split(batch.tokens.cpu(), batch.token_counts.tolist())
        for reference, guess in zip(references, greedy(log_probs, frames), strict=True):
            errors += edit_distance(reference.tolist(), guess)
            length += len(reference)
    model.train()
    return errors / length


class Average:
    """An exponential moving average of a model's weights, which is what gets saved."""

    def __init__(self, model: Wav2Vec2ForCTC, longest: float) -> None:
        self.longest = longest
        self.model = Wav2Vec2ForCTC(model.config).to(next(model.parameters()).device)
        self.model.load_state_dict(model.state_dict())
        self.model.requires_grad_(requires_grad=False)
        self.steps = 0

    def update(self, model: Wav2Vec2ForCTC) -> None:
        """Move the average a little towards the model."""
        self.steps += 1
        decay = min(1 - 1 / self.longest, self.steps / (self.steps + 10))
        with torch.no_grad():
            torch._foreach_lerp_(list(self.model.parameters()), list(model.parameters()), 1 - decay)


def optimiser_of(model: Wav2Vec2ForCTC, rate: float) -> torch.optim.AdamW:
    """Return AdamW for what learns, with weight decay on matrices only."""
    learning = [p for p in model.parameters() if p.requires_grad]
    matrices = [p for p in learning if p.dim() > 1]
    vectors = [p for p in learning if p.dim() <= 1]
    groups = [{"params": matrices, "weight_decay": 0.02}, {"params": vectors, "weight_decay": 0.0}]
    fused = next(model.parameters()).is_cuda
    return torch.optim.AdamW(groups, lr=rate, betas=(0.9, 0.98), eps=1e-8, fused=fused)


def switch_dropout_off(model: Wav2Vec2ForCTC) -> None:
    """Train without dropout, whose random numbers take half of the time on a CPU; the configuration keeps it."""
    for module in model.modules():
        if isinstance(module, torch.nn.Dropout):
            module.p = 0.0
    for layer in model.wav2vec2.encoder.layers:
        layer.attention.dropout = 0.0


def learning_rate(progress: float, peak: float) -> float:
    """Linear warm-up, then a cosine to 1 % of the peak."""
    if progress < WARM_UP:
        return peak * max(progress / WARM_UP, 0.01)
    falling = (progress - WARM_UP) / (1 - WARM_UP)
    return peak * (0.01 + 0.99 * 0.5 * (1 + math.cos(math.pi * min(1.0, falling))))


class Trainer:
    """The model, its average, the optimiser and how far they have come; saved to and restored from a folder."""

    def __init__(self, arguments: argparse.Namespace, device: str) -> None:
        self.arguments = arguments
        self.device = device
        model = Wav2Vec2ForCTC(make_config())
        if arguments.start:
            model = Wav2Vec2ForCTC.from_pretrained(arguments.start, dtype=torch.float32)
        self.model = model.to(device).train()
        if arguments.keep_extractor:
            self.model.freeze_feature_encoder()
        if arguments.no_dropout:
            switch_dropout_off(self.model)
        self.average = Average(self.model, arguments.average_steps)
        self.optimiser = optimiser_of(self.model, arguments.rate)
        self.done_s, self.steps = 0.0, 0
        self.state_path: Path = arguments.output / "state.pt"
        if self.state_path.exists():
            state = torch.load(self.state_path, map_location=device)
            self.model.load_state_dict(state["model"])
            self.average.model.load_state_dict(state["average"])
            self.optimiser.load_state_dict(state["optimiser"])
            self.done_s, self.steps, self.average.steps = state["done_s"], state["steps"], state["steps"]
        arguments.output.mkdir(parents=True, exist_ok=True)

    def step(self, batch: Batch, progress: float) -> Tensor:
        """Learn from one batch; return its loss."""
        for group in self.optimiser.param_groups:
            group["lr"] = learning_rate(progress, self.arguments.rate)
        with torch.autocast(self.device, torch.bfloat16):
            beginning = progress < MASK_FROM and not self.arguments.start
            log_probs, frames = log_probs_of(self.model, batch, 0.0 if beginning else MASK_SHARE)
        loss = loss_of(log_probs, frames, batch)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(self.model.parameters(), 1.0)
        self.optimiser.step()
        self.optimiser.zero_grad(set_to_none=True)
        self.average.update(self.model)
        self.steps += 1
        return loss.detach()

    def check(self, maker: BatchMaker, development: dict[str, list[Clip]], elapsed_s: float) -> None:
        """Report the development errors of the averaged weights, and save everything."""
        errors = {name: development_error(self.average.model, maker.plain(c)) for name, c in development.items()}
        listed = ", ".join(f"{name} {100 * error:.2f} %" for name, error in errors.items())
        say(f"{elapsed_s:.0f} s: step {self.steps}, development CER {listed}")
        folder: Path = self.arguments.output
        save_checkpoint(self.average.model, self.arguments.vocab, folder / "checkpoint")
        models = {"model": self.model.state_dict(), "average": self.average.model.state_dict()}
        state = models | {"optimiser": self.optimiser.state_dict(), "done_s": elapsed_s, "steps": self.steps}
        torch.save(state, folder / "state.new")
        (folder / "state.new").rename(self.state_path)
        with (folder / "log.jsonl").open("a", encoding="utf-8") as log:
            row = {"elapsed_s": round(elapsed_s), "steps": self.steps, "development_cer": errors}
            log.write(json.dumps(row) + "\n")


class Meter:
    """Sums losses and audio between two reports, without waiting for the GPU at each step."""

    def __init__(self) -> None:
        self.since = time.time()
        self.losses: list[Tensor] = []
        self.audio_s = 0.0

    def report(self, elapsed_s: float, steps: int) -> None:
        """Print the mean loss and the speed, and begin anew."""
        loss = torch.stack(self.losses).mean().item()
        speed = self.audio_s / (time.time() - self.since)
        say(f"{elapsed_s:.0f} s: step {steps}, loss {loss:.3f}, {speed:.0f} s of audio a second")
        self.since, self.losses, self.audio_s = time.time(), [], 0.0


def train(arguments: argparse.Namespace) -> None:
    """Run the training loop; write the log and, from time to time, the checkpoint and the state to go on from."""
    device = "cuda" if torch.cuda.is_available() else "cpu"
    torch.manual_seed(1)
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = True
    speech = load_speech(arguments.speech, load_vocab(arguments.vocab), device)
    trainer = Trainer(arguments, device)
    size, kept = count_parameters(trainer.model), {name: len(clips) for name, clips in speech.development.items()}
    say(f"{size} parameters, {len(set(speech.training))} clips, {speech.hours():.2f} h; for development {kept}")
    strength = CLEAN if arguments.clean else USUAL
    maker = BatchMaker(speech.samples, arguments.batch_s, seed=trainer.steps, strength=strength)
    start = last_check = time.time()
    meter = Meter()
    for batch in maker.training(speech.training):
        here_s = time.time() - start
        elapsed_s = trainer.done_s + here_s
        progress = elapsed_s / (arguments.minutes * 60)
        if progress >= 1 or here_s > arguments.stop_after_s or trainer.steps >= arguments.max_steps:
            break
        maker.longest_row_s = 6.0 if progress < SHORT_UNTIL and not arguments.start else 20.0
        meter.losses.append(trainer.step(batch, progress))
        meter.audio_s += batch.audio.numel() / 16_000
        if time.time() - meter.since > arguments.report_s:
            meter.report(elapsed_s, trainer.steps)
        if time.time() - last_check > arguments.check_s:
            trainer.check(maker, speech.development, elapsed_s)
            last_check = time.time()
    trainer.check(maker, speech.development, trainer.done_s + time.time() - start)


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
    parser.add_argument("--start", type=Path, help="a checkpoint to begin with, instead of random weights")
    parser.add_argument("--stop-after-s", type=float, default=1e9, help="stop earlier; the next run goes on from here")
    parser.add_argument("--max-steps", type=int, default=10**9)
    parser.add_argument("--batch-s", type=float, default=400.0)
    parser.add_argument("--rate", type=float, default=1e-3)
    parser.add_argument("--clean", action="store_true", help="little augmentation: no rooms, no telephones")
    parser.add_argument("--keep-extractor", action="store_true", help="do not train the convolutions on the waveform")
    parser.add_argument("--no-dropout", action="store_true", help="twice as fast on a CPU")
    parser.add_argument("--average-steps", type=float, default=1000.0, help="steps that the saved weights average over")
    parser.add_argument("--report-s", type=float, default=10.0)
    parser.add_argument("--check-s", type=float, default=60.0)
    train(parser.parse_args())


if __name__ == "__main__":
    main()
