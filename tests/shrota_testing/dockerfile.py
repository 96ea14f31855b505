"""Dockerfiles, read as far as ours go: stages, COPY, ENV, and which files of the source a build would see.

https://docs.docker.com/reference/dockerfile/
"""

import re
import shlex
import shutil
import subprocess
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Self


@dataclass(frozen=True)
class Copy:
    """A COPY line.

    Attributes:
        sources: paths in the build context, or in the stage ``stage``.
        target: absolute path in the image; ``is_folder`` if it ends with a slash or there are several sources.
        stage: another stage that is copied from; None for the build context.
    """

    sources: tuple[str, ...]
    target: str
    stage: str | None

    @property
    def is_folder(self) -> bool:
        """Whether the target is a folder that the sources go into."""
        return self.target.endswith("/") or len(self.sources) > 1


@dataclass
class Stage:
    """From one FROM to the next."""

    image: str
    name: str | None
    instructions: list[tuple[str, str]] = field(default_factory=list)

    def values(self, instruction: str) -> list[str]:
        """The arguments of all instructions of a name, in order."""
        return [value for name, value in self.instructions if name == instruction]

    @property
    def copies(self) -> list[Copy]:
        """All COPY lines."""
        found = []
        for value in self.values("COPY"):
            words = shlex.split(value)
            options = dict(word[2:].split("=", 1) for word in words if word.startswith("--"))
            *sources, target = [word for word in words if not word.startswith("--")]
            found.append(Copy(tuple(sources), target, options.get("from")))
        return found

    @property
    def environment(self) -> dict[str, str]:
        """All that ENV sets."""
        return dict(word.split("=", 1) for value in self.values("ENV") for word in shlex.split(value))


@dataclass(frozen=True)
class Dockerfile:
    """A Dockerfile and the ``.dockerignore`` beside it."""

    path: Path
    stages: tuple[Stage, ...]

    @classmethod
    def read(cls, path: Path) -> Self:
        """Reads a Dockerfile."""
        lines = [line for line in path.read_text(encoding="utf-8").splitlines() if not re.match(r"\s*(#|$)", line)]
        stages: list[Stage] = []
        for line in re.sub(r"\\\n\s*", "", "\n".join(lines)).splitlines():
            name, _, value = line.strip().partition(" ")
            if name == "FROM":
                image, _, alias = value.partition(" AS ")
                stages.append(Stage(image.strip(), alias.strip() or None))
            elif stages:
                stages[-1].instructions.append((name, value.strip()))
        return cls(path, tuple(stages))

    @property
    def final(self) -> Stage:
        """What is built if no target is named."""
        return self.stages[-1]

    def context(self, root: Path) -> list[Path]:
        """Files of the source that a build sees, relative to ``root``: those that git knows and nothing ignores."""
        rules = self.path.with_name(f"{self.path.name}.dockerignore").read_text(encoding="utf-8").splitlines()
        known = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
        names = subprocess.run(known, cwd=root, check=True, capture_output=True, text=True).stdout.split("\0")
        return [Path(name) for name in sorted(set(names)) if name and not is_ignored(name, rules)]


def is_ignored(name: str, rules: list[str]) -> bool:
    """Whether a ``.dockerignore`` leaves a path out: the last rule that matches it, or a folder above it, decides."""
    ignored = False
    parts = PurePosixPath(name).parts
    prefixes = ["/".join(parts[: count + 1]) for count in range(len(parts))]
    for rule in rules:
        pattern = rule.strip()
        if not pattern or pattern.startswith("#"):
            continue
        bare = pattern.lstrip("!").strip("/")
        expression = re.escape(bare).replace(r"\*\*/", "(?:.*/)?").replace(r"\*\*", ".*").replace(r"\*", "[^/]*")
        if any(re.fullmatch(expression, prefix) for prefix in prefixes):
            ignored = not pattern.startswith("!")
    return ignored


def assemble(dockerfile: Dockerfile, stage: Stage, root: Path, image: Path) -> list[str]:
    """Copies what a stage's COPY lines take from the source to where it would be in the image.

    Returns:
        Sources that the build would not find.
    """
    context = dockerfile.context(root)
    missing = []
    for copy in stage.copies:
        if copy.stage is not None:
            continue
        target = image / copy.target.strip("/")
        for source in copy.sources:
            pattern = re.compile(re.escape(source.rstrip("/")).replace(r"\*", "[^/]*") + r"(?:/(.*))?")
            found = [(path, match[1]) for path in context if (match := pattern.fullmatch(path.as_posix()))]
            if not found:
                missing.append(source)
            for path, inner in found:
                place = target / inner if inner else (target / path.name if copy.is_folder else target)
                place.parent.mkdir(parents=True, exist_ok=True)
                shutil.copyfile(root / path, place)
    return missing
