"""Fills a model repository for the GPU, or the processor, of the machine that it runs on.

Compose runs it once, the Kubernetes chart before each server. It makes a repository of the Python models and
configurations that are in its image, changes settings where that is wished, and runs ``shrota export``, which compares
everything with the checkpoint before it installs it. A second run with the same settings does nothing.

``docker/.env`` and the chart's ``values.yaml`` explain the settings.
"""

import hashlib
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

from shrota_client.configuration import read_configuration, write_configuration
from shrota_client.gpu import find_gpu
from shrota_export.manifest import read_manifest
from shrota_export.paths import FLOAT32_MODEL, MANIFEST, MODEL, PLAN, PLAN_CONFIGURATION, PLAN_DESCRIPTION

STAMP = ".shrota-source"
"""In the repository: what its Python models and configurations were made from. Triton looks at folders only."""
PLAN_FILES = (PLAN_CONFIGURATION, PLAN, PLAN_DESCRIPTION)
Run = Callable[[list[str]], None]


class PrepareError(Exception):
    """A setting that cannot be right, or something that is missing, in one line."""


@dataclass(frozen=True)
class Settings:
    """What to prepare.

    Attributes:
        image: Python models and configurations, as they are in the source.
        repository: what Triton will serve.
        finished: a repository that was exported before, to copy instead of exporting; None to export.
        checkpoint: a folder, or a name on the Hugging Face hub.
        speech: manifest of the speech that everything is compared on.
        precision: "fp32", "tf32" (plans only), "fp16", "bf16" or "int8".
        target: "cpu" or "gpu", what the graph is made for.
        plan: whether a TensorRT plan is wanted.
        cache: where plans and TensorRT's timings are kept; None for nowhere.
        overrides: ``model.setting=value``.
    """

    image: Path
    repository: Path
    finished: Path | None
    checkpoint: str
    speech: Path
    precision: str
    target: str
    plan: bool
    cache: Path | None
    overrides: tuple[str, ...] = ()

    @classmethod
    def read(cls, environment: Mapping[str, str]) -> Self:
        """From the environment; what is empty is as if it were not set."""
        found = {name: value for name, value in environment.items() if value}
        here = Path(found.get("SHROTA_HOME", "/opt/shrota"))
        return cls(
            image=here / "model_repository",
            repository=Path(found.get("SHROTA_REPOSITORY", "/models")),
            finished=Path(found["SHROTA_SOURCE"]) if "SHROTA_SOURCE" in found else None,
            checkpoint=found.get("SHROTA_CHECKPOINT", str(here / "models/hindi-small")),
            speech=Path(found.get("SHROTA_SPEECH", here / "samples/manifest.jsonl")),
            precision=found.get("SHROTA_PRECISION", "fp32"),
            target=found.get("SHROTA_TARGET", "cpu"),
            plan="acoustic_trt" in found.get("SHROTA_ENGINES", "acoustic_onnx").split(","),
            cache=Path(found["SHROTA_CACHE"]) if "SHROTA_CACHE" in found else None,
            overrides=tuple(found.get("SHROTA_SETTINGS", "").split()),
        )


def prepare(settings: Settings, run: Run, plan_key: str | None = None) -> None:
    """Prepares the repository.

    Args:
        settings: what is wanted.
        run: runs ``shrota`` with these arguments; raises if it fails.
        plan_key: the GPU and the TensorRT that a plan runs with, as a folder's name; None where there is no GPU.
    """
    lay_out(settings)
    where = ["--repository", str(settings.repository)]
    speech = ["--manifest", str(settings.speech)]
    if settings.finished is None:
        run(["export", "onnx", settings.checkpoint, *where, *speech, "--target", settings.target])
        convert(settings, run, speech)
    if settings.plan:
        build_plan(settings, run, [*where, *speech], plan_key)


def lay_out(settings: Settings) -> None:
    """Copies Python models and configurations, or a whole finished repository, unless that was done before.

    Raises:
        PrepareError: there is no such repository, or a setting is not one of its configuration.
    """
    source = settings.finished or settings.image
    if not (source / "acoustic_onnx" / "config.pbtxt").is_file():
        raise PrepareError(f"{source} is no model repository: acoustic_onnx/config.pbtxt is missing")
    described = (f"{path.relative_to(source)}:{path.stat().st_size}:{hash_of(path)}" for path in files(source))
    stamp = hashlib.sha256("\n".join([*described, *settings.overrides]).encode()).hexdigest()
    mark = settings.repository / STAMP
    if mark.is_file() and mark.read_text(encoding="ascii") == stamp:
        return
    mark.unlink(missing_ok=True)
    for path in files(source):
        target = settings.repository / path.relative_to(source)
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(path, target)
    for override in settings.overrides:
        change(settings.repository, override)
    mark.write_text(stamp, encoding="ascii")


def files(folder: Path) -> list[Path]:
    """All files beneath a folder, in order."""
    return sorted(path for path in folder.rglob("*") if path.is_file() and "__pycache__" not in path.parts)


def hash_of(path: Path) -> str:
    """SHA-256 of a file."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def change(repository: Path, override: str) -> None:
    """Sets ``model.setting=value`` in that model's ``config.pbtxt``: a parameter that is there, or one of two fields.

    ``instances`` is the count of the instance group, ``max_queue_size`` that of the default queue policy.
    """
    name, equals, value = override.partition("=")
    model, dot, setting = name.partition(".")
    path = repository / model / "config.pbtxt"
    if not (equals and dot and value and path.is_file()):
        raise PrepareError(f"SHROTA_SETTINGS: {override!r} is not MODEL.SETTING=VALUE of a model in {repository}")
    config: Any = read_configuration(path)
    if setting in {"instances", "max_queue_size"}:
        if not value.isascii() or not value.isdigit():
            raise PrepareError(f"SHROTA_SETTINGS: {override!r} needs a whole number")
        if setting == "instances":
            config.instance_group[0].count = int(value)
        else:
            config.dynamic_batching.default_queue_policy.max_queue_size = int(value)
    elif setting in config.parameters:
        config.parameters[setting].string_value = value
    else:
        known = ", ".join(["instances", "max_queue_size", *sorted(config.parameters)])
        raise PrepareError(f"SHROTA_SETTINGS: {model} has no {setting!r}; it has {known}")
    path.write_text(write_configuration(config), encoding="utf-8")


def convert(settings: Settings, run: Run, speech: list[str]) -> None:
    """Puts the graph of the wanted precision in the place of the float32 one, through the gate, unless it is there."""
    wanted = "fp32" if settings.precision == "tf32" else settings.precision
    installed = read_manifest(settings.repository / MANIFEST).get("precision") or {}
    if installed.get("precision", "fp32") == wanted:
        return
    # TensorRT does not know the node that fused attention is
    attention = ["--attention", "plain"] if settings.plan and wanted == "fp16" else []
    run(["export", "precision", str(settings.repository / MODEL), "--to", wanted, *speech, *attention])


def build_plan(settings: Settings, run: Run, options: list[str], plan_key: str | None) -> None:
    """Builds the plan, or takes it from the cache; the gate has passed it on this kind of GPU either way."""
    order = ["export", "tensorrt", "--precision", settings.precision, *options]
    if settings.cache is None or plan_key is None:
        run(order)
        refuse_unseen(settings.repository)
        return
    order += ["--timing-cache", str(settings.cache / "timings")]
    graph = hash_of(settings.repository / MODEL)[:16]
    kept = settings.cache / "plans" / f"{plan_key}-{settings.precision}-{graph}"
    fetched = fetch(kept, settings.repository)
    run(order)  # it builds nothing where the plan that is there is the one that is wanted
    refuse_unseen(settings.repository)
    if fetched and same(kept, settings.repository):
        check(settings, run)
    else:
        keep(kept, settings.repository)


def refuse_unseen(repository: Path) -> None:
    """Removes a plan that has not been compared with the float32 graph: ``shrota export`` builds it, and says so.

    Raises:
        PrepareError: it was not; it is not to be served.
    """
    comparison = read_manifest(repository / PLAN_DESCRIPTION).get("comparison") or {}
    if comparison.get("was_run"):
        return
    for path in (PLAN, PLAN_DESCRIPTION):
        (repository / path).unlink(missing_ok=True)
    why = comparison.get("why", "plan.json does not say that it was")
    raise PrepareError(f"the plan was not compared with the float32 graph and is not served: {why}")


def fetch(kept: Path, repository: Path) -> bool:
    """Copies a plan from the cache into the repository; whether there was a whole one."""
    described = read_manifest(kept / PLAN_DESCRIPTION).get("plan") or {}
    plan = kept / PLAN
    compared = (read_manifest(kept / PLAN_DESCRIPTION).get("comparison") or {}).get("was_run")
    if not plan.is_file() or not compared or described.get("sha256") != hash_of(plan):
        return False
    copy(PLAN_FILES, kept, repository)
    return True


def same(kept: Path, repository: Path) -> bool:
    """Whether the repository's plan is still that of the cache."""
    return hash_of(kept / PLAN) == hash_of(repository / PLAN)


def keep(kept: Path, repository: Path) -> None:
    """Copies the repository's plan into the cache: all of it, or nothing."""
    kept.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=kept.parent) as folder:
        made = Path(folder) / "plan"
        copy(PLAN_FILES, repository, made)
        shutil.rmtree(kept, ignore_errors=True)
        try:
            made.rename(kept)
        except OSError:  # another server on a GPU of the same kind was quicker
            if not (kept / PLAN).is_file():
                raise


def copy(paths: Iterable[Path], source: Path, target: Path) -> None:
    """Copies files of one folder to the same places in another."""
    for path in paths:
        (target / path).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(source / path, target / path)


def check(settings: Settings, run: Run) -> None:
    """Runs a fetched plan through the gate on the GPU that is here."""
    model, float32 = settings.repository / MODEL, settings.repository / FLOAT32_MODEL
    reference = float32 if float32.is_file() else model
    plan = ["--stages", "--plan", str(settings.repository / PLAN)]
    run(["export", "check", str(model), "--against", str(reference), "--manifest", str(settings.speech), *plan])


def find_plan_key() -> str | None:
    """This GPU and this TensorRT; None where one of them is missing."""
    gpu = find_gpu()
    if gpu is None:
        return None
    try:
        import tensorrt  # type: ignore[import-untyped,unused-ignore] # noqa: PLC0415 - only where a plan is wanted
    except ImportError:
        return None
    name = "".join(letter if letter.isalnum() else "_" for letter in gpu.name)
    return f"{name}-{gpu.compute_capability}-tensorrt-{tensorrt.__version__}"


def shrota(arguments: list[str]) -> None:
    """Runs a command of ours as a user would; its own messages go to the log."""
    sys.stderr.write(f"shrota {' '.join(arguments)}\n")
    subprocess.run(["shrota", *arguments], check=True)  # noqa: S603, S607


def main() -> None:
    """Prepares what the environment describes."""
    try:
        settings = Settings.read(os.environ)
        prepare(settings, shrota, find_plan_key() if settings.plan else None)
    except subprocess.CalledProcessError as error:
        sys.exit(error.returncode)  # it has said why
    except PrepareError as error:
        sys.exit(f"shrota: {error}")
    except OSError as error:
        hint = f": the volumes must belong to user {os.getuid()}" if isinstance(error, PermissionError) else ""
        sys.exit(f"shrota: {error.filename}: {error.strerror}{hint}")
    sys.stderr.write(f"{settings.repository} is ready\n")


if __name__ == "__main__":
    main()
