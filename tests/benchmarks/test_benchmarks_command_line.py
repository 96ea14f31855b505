"""The command on a benchmark's page is the one that was given, without what belongs to the machine."""

from pathlib import Path

import click
import pytest
from click.testing import CliRunner

from benchmarks.command_line import command_line


@click.command()
@click.option("--output", type=click.Path(path_type=Path))
@click.option("--program")
@click.option("--configurations")
@click.option("--seconds", type=float)
@click.option("--add", is_flag=True)
@click.pass_context
def command(context: click.Context, /, **_: object) -> None:
    click.echo(command_line("benchmarks.some", context))


@pytest.mark.parametrize(
    ("given", "shown"),
    [
        ("--output /home/somebody/build/page", "--output build/page"),
        ("--program /opt/bin/perf_analyzer", "--program bin/perf_analyzer"),
        ("--configurations fp8:2/3/320,fp16:1/2/320", "--configurations fp8:2/3/320,fp16:1/2/320"),
        ("--seconds 480.0", "--seconds 480"),
        ("--add", "--add"),
        ("", ""),
    ],
)
def test_paths_are_cut_and_lists_are_not(given: str, shown: str) -> None:
    result = CliRunner().invoke(command, given.split())
    assert result.output.strip() == f"python -m benchmarks.some {shown}".strip()
