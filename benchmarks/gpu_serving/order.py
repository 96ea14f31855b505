"""What is asked for on the command line."""

from dataclasses import dataclass, replace
from pathlib import Path

from shrota_export.errors import GateSettingError
from shrota_export.random_checkpoint import Shape

PRECISIONS = {"cuda": ("fp16", "bf16", "fp8"), "cpu": ("fp32", "fp16", "fp8")}
"""Of acoustic_torch. On a processor, where the commands are only tried, float32 stands in the place of bfloat16."""


@dataclass(frozen=True)
class Configuration:
    """How the repository is served.

    Attributes:
        precision: of acoustic_torch.
        instances: of it, on each GPU.
        calls: of it at a time, by ``acoustic``.
        budget_s: seconds of a batch, padding included.
        gpus: that are used.
        batchers: processes of ``acoustic``.
    """

    precision: str
    instances: int
    calls: int
    budget_s: float
    gpus: int = 1
    batchers: int = 1

    @property
    def name(self) -> str:
        """For tables."""
        gpus = f" on {self.gpus} GPUs" if self.gpus > 1 else ""
        gpus += f", {self.batchers} batchers" if self.batchers > 1 else ""
        return f"{self.precision} {self.instances}/{self.calls}, {self.budget_s:g} s{gpus}"

    def on_two(self, batchers: int) -> "Configuration":
        """The same on two GPUs: as many instances on each, and so many batchers to feed both."""
        return replace(self, gpus=2, batchers=batchers)


@dataclass(frozen=True)
class Order:
    """All of it.

    Attributes:
        device: "cuda" or "cpu".
        rows: of the batch that is looked at closely.
        batches: rows over which throughput is measured.
        seconds_of_audio: of an utterance, where all are as long.
        configurations: of the server, the most important first.
        concurrencies: requests under way; the last but one is measured first.
        decoders: processes of the decoder.
        measure_s: that engines by turns are measured on a batch of one kind.
        load_s: that perf_analyzer measures a load.
        perf_analyzer: the program; None where there is none.
        shape: of the model.
        output: see :mod:`.__main__`.
        batchers: processes of ``acoustic`` where there are two GPUs; each of two would fill a core.
    """

    device: str
    rows: int
    batches: tuple[int, ...]
    seconds_of_audio: float
    configurations: tuple[Configuration, ...]
    concurrencies: tuple[int, ...]
    decoders: int
    measure_s: float
    load_s: float
    perf_analyzer: str | None
    shape: Shape
    output: Path
    batchers: int = 3

    @property
    def precisions(self) -> tuple[str, ...]:
        """Of acoustic_torch, in process."""
        return PRECISIONS[self.device]

    def ranked_concurrencies(self) -> list[int]:
        """Those with many requests under way, the most important first."""
        middle = self.concurrencies[max(0, len(self.concurrencies) - 2)]
        lower = [each for each in self.concurrencies if each < middle]
        higher = [each for each in self.concurrencies if each > middle]
        return [middle, *lower[-1:], *higher, *lower[:-1]]


def parse_configuration(text: str) -> Configuration:
    """From ``PRECISION:INSTANCES/CALLS/BUDGET``, such as ``fp16:1/3/320``.

    Raises:
        GateSettingError: it is none.
    """
    precision, _, numbers = text.strip().partition(":")
    try:
        instances, calls, budget = numbers.split("/")
        found = Configuration(precision, int(instances), int(calls), float(budget))
    except ValueError:
        found = None
    known = {each for all_of_them in PRECISIONS.values() for each in all_of_them}
    if found is None or precision not in known or min(found.instances, found.calls, found.budget_s) < 1:
        raise GateSettingError(
            f"{text!r} is no configuration: write fp16:1/3/320, instances, calls, seconds of a batch"
        )
    return found
