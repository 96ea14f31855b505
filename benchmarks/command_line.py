"""The command line of a benchmark, for the head of its page."""

import shlex
from pathlib import Path
from typing import Any

import click
from click.core import ParameterSource

PATH_PARTS = 2


def short_path(path: Path) -> str:
    """The last two parts: what lies above them belongs to the machine."""
    return str(Path(*path.parts[-PATH_PARTS:])).removeprefix("/")


def command_line(module: str, context: click.Context) -> str:
    """``python -m MODULE`` with the options that were given, in the order of the declaration."""
    words = ["python", "-m", module]
    for parameter in context.command.params:
        if parameter.name is None or context.get_parameter_source(parameter.name) is not ParameterSource.COMMANDLINE:
            continue
        value = context.params[parameter.name]
        if isinstance(parameter, click.Option) and parameter.is_flag:
            words += [max(parameter.opts, key=len)] if value else []
            continue
        for one in value if isinstance(value, tuple) else (value,):
            words += [max(parameter.opts, key=len), _text(one)]
    return shlex.join(words)


def _text(value: Any) -> str:
    """An option's value. Only files and folders have a slash in them, and no colon."""
    if isinstance(value, Path) or ("/" in str(value) and ":" not in str(value)):
        return short_path(Path(value))
    return f"{value:g}" if isinstance(value, float) else str(value)
