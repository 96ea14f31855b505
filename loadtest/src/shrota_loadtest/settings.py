"""What a load test is told: one table for Locust's options, its web page, and the command that starts it."""

import argparse
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from typing import Any, Self

from shrota_client.errors import ParameterError
from shrota_loadtest.errors import LoadTestError

OPEN, CLOSED, STREAMS = "open", "closed", "streams"
KINDS = (OPEN, CLOSED, STREAMS)
UNITS = {OPEN: "requests/s", CLOSED: "users", STREAMS: "streams"}
NONE, SEARCH, STAGES = "none", "search", "stages"
SHAPES = (NONE, SEARCH, STAGES)

HELP = {
    "grpc": "Address for users over gRPC: HOST:PORT or grpcs://HOST:PORT.",
    "http": "Address for users over HTTP: http://HOST:PORT or https://HOST:PORT.",
    "speech": "Manifest of the speech to send: JSON lines with audio, and text where it is known.",
    "lengths": "How long utterances are: news, audiobook, meeting, MEDIAN,SIGMA[,LEAST,MOST] in seconds, or whole.",
    "clips": "Utterances that are cut from the speech, to draw from.",
    "seed": "Of the utterances, of which is sent when, and of the arrivals.",
    "engine": "Engine of every request; empty for the server's own.",
    "request_timeout": "Seconds after which a request is given up.",
    "bound": "Seconds of latency that 95 of 100 requests must keep.",
    "word_errors": "Word error rate, as a share, that transcripts under load may have against those alone. More than 0 "
    "only where an engine adds in another order in a batch (half precision on a GPU), or where weights are random (1: "
    "any transcript counts as right).",
    "kind": "Users: open (arrivals at random, at a rate), closed (each waits for its answer), streams (live speakers).",
    "rate_per_user": "Arrivals a second of one open-loop user of Locust.",
    "think_time": "Seconds between answer and next request of a closed-loop user.",
    "metrics": "HOST:PORT of Triton's metrics; empty: nothing of them is shown.",
    "shape": "none (Locust's own number of users), search (for the highest load) or stages.",
    "stages": "Stages as JSON, or those of a search: its settling and measured time.",
    "start": "First load of a search; 0: half of what the server does when it is asked one by one.",
    "precision": "Share by which the search may miss the highest load.",
    "minutes": "After so many minutes a search begins no further step; 0: no limit.",
    "results": "Write what was measured to this file, as JSON.",
    "output": "Write a page of what was measured into this folder.",
}


@dataclass(frozen=True)
class Settings:
    """See :data:`HELP`; times are in seconds."""

    grpc: str = ""
    http: str = ""
    speech: str = "samples/manifest.jsonl"
    lengths: str = "news"
    clips: int = 48
    seed: int = 0
    engine: str = ""
    request_timeout: float = 60.0
    bound: float = 1.0
    word_errors: float = 0.0
    kind: str = OPEN
    rate_per_user: float = 0.1
    think_time: float = 0.0
    metrics: str = ""
    shape: str = NONE
    stages: str = ""
    start: float = 0.0
    precision: float = 0.1
    minutes: float = 0.0
    results: str = ""
    output: str = ""

    def __post_init__(self) -> None:
        for name in ("clips", "request_timeout", "bound", "rate_per_user", "precision"):
            if not (getattr(self, name) > 0 and math.isfinite(getattr(self, name))):
                raise ParameterError(f"--{name.replace('_', '-')} must be a number over 0, not {getattr(self, name)}")
        for name in ("seed", "start", "minutes", "word_errors", "think_time"):
            if not (getattr(self, name) >= 0 and math.isfinite(getattr(self, name))):
                raise ParameterError(f"--{name.replace('_', '-')} must be 0 or more, not {getattr(self, name)}")
        for name, known in (("kind", KINDS), ("shape", SHAPES)):
            if getattr(self, name) not in known:
                raise ParameterError(f"--{name} must be {', '.join(known)}, not {getattr(self, name)!r}")

    @classmethod
    def of(cls, options: Mapping[str, Any]) -> Self:
        """From Locust's parsed options, or anything else that has the values by name.

        Raises:
            ParameterError: a value that cannot be.
        """
        values = {}
        for field in fields(cls):
            value = options.get(field.name, field.default)
            kind: type[Any] = type(field.default)
            try:
                values[field.name] = kind() if value is None else kind(value)
            except (TypeError, ValueError) as error:
                raise ParameterError(f"--{field.name.replace('_', '-')} is {value!r}: it takes a number") from error
        return cls(**values)

    @classmethod
    def add_arguments(cls, parser: argparse.ArgumentParser) -> None:
        """Adds an option for each setting; what only a command line can say is not on Locust's web page."""
        for field in fields(cls):
            hidden = field.name in {"shape", "stages", "results", "output"}
            extra: dict[str, Any] = {"include_in_web_ui": False} if hidden else {}
            parser.add_argument(
                f"--{field.name.replace('_', '-')}",
                dest=field.name,
                type=type(field.default),
                default=field.default,
                help=HELP[field.name],
                **extra,
            )

    def arguments(self) -> list[str]:
        """The same for Locust's command line; what is as usual is left out."""
        default = type(self)()
        return [
            f"--{name.replace('_', '-')}={value}"
            for name, value in asdict(self).items()
            if value != getattr(default, name)
        ]

    def users(self, load: float) -> int:
        """How many of Locust's users make a load."""
        if not load:
            return 0
        return max(1, round(load / self.rate_per_user if self.kind == OPEN else load))

    def load_of(self, users: int) -> float:
        """The load that so many of Locust's users make."""
        return users * self.rate_per_user if self.kind == OPEN else float(users)

    @property
    def quantum(self) -> float:
        """The load of one of Locust's users."""
        return self.load_of(1)

    def address(self, scheme: str) -> str:
        """Where users of a scheme, ``grpc`` or ``http``, send to.

        Raises:
            LoadTestError: none was given.
        """
        found = self.grpc if scheme == "grpc" else self.http
        if not found:
            raise LoadTestError(f"users over {scheme} need the server's address: --{scheme} HOST:PORT")
        return found if "://" in found or scheme == "grpc" else f"http://{found}"


def known_schemes(settings: Settings) -> Sequence[str]:
    """The schemes for which an address was given."""
    return [scheme for scheme, address in (("grpc", settings.grpc), ("http", settings.http)) if address]
