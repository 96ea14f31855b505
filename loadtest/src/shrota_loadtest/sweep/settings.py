"""Settings of a model repository as a sweep names them, and what they change in ``config.pbtxt``.

``MODEL.NAME=VALUE,VALUE``: NAME is ``instances``, ``queue_delay_us``, ``threads`` (of an engine's run) or one of the
model's ``parameters``.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from typing import Any

from shrota_client.configuration import CONFIGURATION, read_configuration
from shrota_loadtest.errors import SweepError

AS_IT_IS = "the repository as it is"
"""The name of the repository's own configuration."""
INSTANCES, QUEUE_DELAY, THREADS = "instances", "queue_delay_us", "threads"
THREADS_PARAMETER = "intra_op_thread_count"
LEAST = {INSTANCES: 1, QUEUE_DELAY: 0, THREADS: 0}
"""Whole numbers, from here on."""
MOST = 2**31 - 1
ENSEMBLE = "ensemble"


@dataclass(frozen=True)
class Setting:
    """One setting of one model."""

    model: str
    name: str
    value: str

    @property
    def label(self) -> str:
        """As it is written on the command line."""
        return f"{self.model}.{self.name}={self.value}"


@dataclass(frozen=True)
class Configuration:
    """What differs from the repository; nothing in :data:`AS_IT_IS`."""

    settings: tuple[Setting, ...]

    @property
    def name(self) -> str:
        """For tables."""
        return " ".join(each.label for each in self.settings) or AS_IT_IS


def parse_axis(text: str) -> list[Setting]:
    """The settings of one ``MODEL.NAME=VALUE,VALUE``.

    Raises:
        SweepError: it is not of this form.
    """
    key, _, values = text.partition("=")
    model, _, name = key.strip().partition(".")
    given = [value.strip() for value in values.split(",")]
    if not model or not name or not all(given):
        raise SweepError(f"--set {text!r}: write MODEL.NAME=VALUE,VALUE, such as acoustic.batch_budget_seconds=20,40")
    return [Setting(model, name, value) for value in dict.fromkeys(given)]


def configurations(axes: Sequence[Sequence[Setting]], *, grid: bool) -> list[Configuration]:
    """The repository's own first, then each value of each axis alone, or all combinations of one value of each."""
    if grid:
        return [Configuration(()), *(Configuration(each) for each in product(*axes))]
    return [Configuration(()), *(Configuration((setting,)) for axis in axes for setting in axis)]


def read_models(repository: Path, names: Sequence[str]) -> dict[str, Any]:
    """The configurations of some models.

    Raises:
        SweepError: a model is not in the repository.
        ConfigurationError: its configuration cannot be read.
    """
    found = {}
    for name in names:
        path = repository / name / CONFIGURATION
        if not path.is_file():
            known = sorted(each.parent.name for each in repository.glob(f"*/{CONFIGURATION}"))
            raise SweepError(f"no model {name!r} in {repository}: it has {', '.join(known) or 'none'}")
        found[name] = read_configuration(path)
    return found


def changed(repository: Path, configuration: Configuration) -> dict[str, Any]:
    """The configurations of the models that differ from the repository's, by model.

    Raises:
        SweepError: a setting that the model has not, or a value that it cannot have.
        ConfigurationError: a configuration cannot be read.
    """
    found = read_models(repository, list(dict.fromkeys(each.model for each in configuration.settings)))
    originals = read_models(repository, list(found))
    for setting in configuration.settings:
        put(found[setting.model], setting)
    return {name: config for name, config in found.items() if config != originals[name]}


def put(config: Any, setting: Setting) -> None:
    """Changes a configuration.

    Raises:
        SweepError: see :func:`changed`.
    """
    if config.platform == ENSEMBLE:
        raise SweepError(f"--set {setting.label}: {setting.model} is an ensemble; set what its steps have")
    if setting.name in LEAST:
        count = _whole(setting)
        if setting.name == INSTANCES:
            if not config.instance_group:
                config.instance_group.add()
            for group in config.instance_group:
                group.count = count
        elif setting.name == QUEUE_DELAY:
            if not config.HasField("dynamic_batching"):
                raise SweepError(f"--set {setting.label}: {setting.model} has no dynamic batching")
            config.dynamic_batching.max_queue_delay_microseconds = count
        else:
            _put_parameter(config, setting, THREADS_PARAMETER)
    else:
        _put_parameter(config, setting, setting.name)


def _whole(setting: Setting) -> int:
    least = LEAST[setting.name]
    value = int(setting.value) if setting.value.isascii() and setting.value.isdecimal() else -1
    if not least <= value <= MOST:
        raise SweepError(f"--set {setting.label}: {setting.name} is a whole number of at least {least}")
    return value


def _put_parameter(config: Any, setting: Setting, name: str) -> None:
    """A parameter that is there, as a number where it is one."""
    if name not in config.parameters:
        known = [*LEAST, *sorted(config.parameters)]
        if THREADS_PARAMETER not in config.parameters:
            known.remove(THREADS)
        raise SweepError(f"--set {setting.label}: {setting.model} has no such setting; it has {', '.join(known)}")
    if _is_number(config.parameters[name].string_value) and not _is_number(setting.value):
        raise SweepError(f"--set {setting.label}: {setting.name} is a number")
    config.parameters[name].string_value = setting.value


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


def without_doubles(repository: Path, wanted: Sequence[Configuration]) -> list[Configuration]:
    """Those that differ from the repository and from each other, with the repository's own first.

    Raises:
        SweepError, ConfigurationError: see :func:`changed`.
    """
    kept: dict[tuple[tuple[str, bytes], ...], Configuration] = {}
    for each in wanted:
        configs = changed(repository, each)
        kept.setdefault(tuple(sorted((name, _bytes(config)) for name, config in configs.items())), each)
    return list(kept.values())


def _bytes(config: Any) -> bytes:
    return bytes(config.SerializeToString(deterministic=True))


def parameters(config: Any) -> Mapping[str, str]:
    """A model's parameters."""
    return {name: each.string_value for name, each in config.parameters.items()}
