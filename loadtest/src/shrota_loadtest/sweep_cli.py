"""``shrota sweep``: perf_analyzer over concurrency, rate, batch and configuration."""

from pathlib import Path
from typing import Any

import click

from shrota_loadtest.sweep.plan import MODELS, PROTOCOLS, SHARED_MEMORY

PATH = click.Path(path_type=Path)
CLIPS = 31
"""A prime: it has no common divisor with the usual numbers of workers."""


@click.command()
@click.option("--repository", type=PATH, help="Model repository to serve; without it, a running server is asked.")
@click.option("--grpc", default="127.0.0.1:8001", show_default=True, help="Of the running server, HOST:PORT.")
@click.option("--http", default="127.0.0.1:8000", show_default=True, help="Likewise.")
@click.option("--metrics", default="127.0.0.1:8002", show_default=True, help="Likewise.")
@click.option(
    "--engine", "engines", multiple=True, default=["acoustic_onnx"], show_default=True, help="Served beside asr."
)
@click.option("--model", "models", multiple=True, type=click.Choice(MODELS), default=["asr"], show_default=True)
@click.option("--also", multiple=True, type=click.Choice(MODELS), help="Briefly: concurrency, first protocol, memory.")
@click.option(
    "--protocol", "protocols", multiple=True, type=click.Choice(PROTOCOLS), default=["grpc"], show_default=True
)
@click.option("--shared-memory", multiple=True, type=click.Choice(SHARED_MEMORY), default=["none"], show_default=True)
@click.option("--concurrency", metavar="1,2,4", help="Requests under way. [1,2,4,8 if nothing else is asked for]")
@click.option("--request-rate", metavar="5,10", help="Requests a second, Poisson arrivals.")
@click.option("--batch", metavar="1,2,4", help="Rows of a request, all of --batch-seconds.")
@click.option("--batch-seconds", type=click.FloatRange(0.1, 60), default=5.0, show_default=True)
@click.option(
    "--set",
    "settings",
    multiple=True,
    metavar="MODEL.NAME=VALUE,...",
    help="Sweep over configuration: instances, queue_delay_us, threads, or a parameter of config.pbtxt.",
)
@click.option("--grid", is_flag=True, help="All combinations of --set; without it, one change at a time.")
@click.option("--rounds", type=click.IntRange(1, 100), default=3, show_default=True, help="Of each configuration.")
@click.option("--throughput-concurrency", type=click.IntRange(1, 4096), default=16, show_default=True)
@click.option("--latency-concurrency", type=click.IntRange(1, 4096), default=1, show_default=True)
@click.option("--manifest", type=PATH, default="samples/manifest.jsonl", show_default=True, help="Speech.")
@click.option(
    "--lengths",
    default="news",
    show_default=True,
    metavar="NAME|MEDIAN,SIGMA[,LEAST,MOST]",
    help="To which utterances are cut: news, audiobook, meeting, numbers, or whole (as in the manifest).",
)
@click.option("--clips", type=click.IntRange(1, 1000), default=CLIPS, show_default=True, help="Of them.")
@click.option("--seconds", type=click.FloatRange(1, 3600), default=10.0, show_default=True, help="Of one point.")
@click.option("--minutes", type=click.FloatRange(0, min_open=True), help="After these nothing more is begun.")
@click.option("--perf-analyzer", "program", help="The program. [perf_analyzer on the PATH]")
@click.option("--output", type=PATH, default="sweep", show_default=True, help="Folder of the page.")
def sweep(**options: Any) -> None:
    """What each load and each setting gives, by NVIDIA's perf_analyzer: tables and pictures on one page.

    Every --model is measured by every --protocol and --shared-memory, over --concurrency, --request-rate and --batch.
    With --repository and --set, the server is started anew with each configuration, and the page says which one won.
    """
    from shrota_loadtest.sweep.command import run  # noqa: PLC0415 - `shrota --help` stays quick

    run(click.get_current_context(), **options)
