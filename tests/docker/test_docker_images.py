"""The Dockerfiles: what hadolint says, and what we ask of them beyond that. No image has been built here."""

import ast
import re
import subprocess
import sys
from pathlib import Path

import pytest

from shrota_testing import tools
from shrota_testing.dockerfile import Dockerfile, assemble, is_ignored
from shrota_testing.repository import ROOT

DOCKER = ROOT / "docker"
FILES = sorted(DOCKER.glob("*/Dockerfile"))
BUILD_TOOLS = re.compile(r"\b(apt|apt-get|gcc|g\+\+|make|cmake|build-essential|python3-dev|git|curl|wget)\b")


def settings() -> dict[str, str]:
    """What docker/.env sets."""
    lines = (DOCKER / ".env").read_text(encoding="utf-8").splitlines()
    return dict(line.split("=", 1) for line in lines if line and not line.startswith("#"))


@pytest.fixture(params=FILES, ids=lambda path: path.parent.name)
def dockerfile(request: pytest.FixtureRequest) -> Dockerfile:
    """Each of our Dockerfiles."""
    return Dockerfile.read(request.param)


def test_there_are_three_images() -> None:
    assert [path.parent.name for path in FILES] == ["client", "export", "server"]


def test_hadolint_finds_nothing(dockerfile: Dockerfile) -> None:
    done = subprocess.run([tools.program("hadolint"), dockerfile.path], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (0, "")


def test_everything_that_is_copied_is_there_and_reaches_the_build(dockerfile: Dockerfile, tmp_path: Path) -> None:
    copied = 0
    for stage in dockerfile.stages:
        assert assemble(dockerfile, stage, ROOT, tmp_path) == []
        copied += sum(copy.stage is None for copy in stage.copies)
    assert copied >= 2


def test_a_source_that_is_missing_or_ignored_is_found_out(tmp_path: Path) -> None:
    path = tmp_path / "Dockerfile"
    path.write_text("FROM a AS b\nCOPY client /c\nCOPY nowhere \\\n    NOTICE /d/\n", encoding="utf-8")
    path.with_name("Dockerfile.dockerignore").write_text("*\n!client\nclient/src\n", encoding="utf-8")
    read = Dockerfile.read(path)
    assert assemble(read, read.final, ROOT, tmp_path / "image") == ["nowhere", "NOTICE"]
    assert {file.name for file in (tmp_path / "image" / "c").iterdir()} == {"README.md", "pyproject.toml"}


@pytest.mark.parametrize(
    ("name", "rules", "ignored"),
    [
        ("a/b.py", ["*", "!a"], False),
        ("a/b.py", ["*", "!a/*.py"], False),
        ("a/c/b.py", ["*", "!a/*.py"], True),
        ("a/__pycache__/b.pyc", ["*", "!a", "**/__pycache__"], True),
        ("a/1/model.onnx", ["a/**/*.onnx"], True),
        ("a/model.onnx", ["# a comment", "", "a/**/*.onnx"], True),
        ("ab/model.txt", ["a"], False),
    ],
)
def test_what_a_build_leaves_out(name: str, rules: list[str], *, ignored: bool) -> None:
    assert is_ignored(name, rules) is ignored


def test_what_runs_is_nobody_in_particular(dockerfile: Dockerfile) -> None:
    used = {copy.stage for stage in dockerfile.stages for copy in stage.copies if copy.stage}
    used |= {stage.image for stage in dockerfile.stages}
    finals = [stage for stage in dockerfile.stages if stage.name not in used]
    assert dockerfile.final in finals
    for stage in finals:
        *_, user = stage.values("USER")
        assert re.fullmatch(r"[1-9]\d*:[1-9]\d*", user), "Kubernetes sees by the number that it is not root"
        # and whatever is written at run time is not in the image
        assert stage.environment["PYTHONDONTWRITEBYTECODE"] == "1"
        assert stage.environment["HOME"] == "/tmp"  # noqa: S108 - in the container
        assert stage.values("HEALTHCHECK"), "said, even where there is none"


def test_no_build_tools_are_brought_in(dockerfile: Dockerfile) -> None:
    for stage in dockerfile.stages:
        for command in stage.values("RUN"):
            assert not BUILD_TOOLS.search(command), command


def test_base_images_are_pinned(dockerfile: Dockerfile) -> None:
    names = {stage.name for stage in dockerfile.stages}
    bases = {stage.image for stage in dockerfile.stages} - names
    for image in bases:
        tag = image.rpartition(":")[2]
        assert re.fullmatch(r"\$\{TRITON_RELEASE\}-py3|\d+\.\d+\.\d+-slim-\w+", tag), image


def test_the_release_of_triton_and_its_tensorrt_are_written_down_in_one_place() -> None:
    found = settings()
    assert re.fullmatch(r"\d\d\.\d\d", found["TRITON_RELEASE"])
    assert re.fullmatch(r"\d+\.\d+\.\d+", found["TENSORRT_VERSION"])
    tracked = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, check=True, capture_output=True, text=True)
    for name in tracked.stdout.split("\0"):
        if name.startswith("docker/") and name != "docker/.env" and (ROOT / name).is_file():
            text = (ROOT / name).read_text(encoding="utf-8")
            assert found["TENSORRT_VERSION"] not in text, name
            assert not re.search(rf"(?<![\d.]){re.escape(found['TRITON_RELEASE'])}(?![\d.])", text), name
    for part in ("server", "export"):
        stages = Dockerfile.read(DOCKER / part / "Dockerfile").stages
        assert {"${TRITON_RELEASE}" in stage.image for stage in stages} == {True}
        assert "ARG TENSORRT_VERSION" in (DOCKER / part / "Dockerfile").read_text(encoding="utf-8").splitlines()


def test_the_server_has_every_package_that_the_python_models_import() -> None:
    own = {path.name for path in ROOT.glob("model_repository/*/1/*") if path.is_dir()}
    imported = set()
    for path in ROOT.glob("model_repository/*/1/**/*.py"):
        # needs PyTorch, which the image has not: serve.py refuses it there
        if path.is_relative_to(ROOT / "model_repository" / "acoustic_torch"):
            continue
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Import):
                imported |= {alias.name.partition(".")[0] for alias in node.names}
            elif isinstance(node, ast.ImportFrom) and not node.level:
                imported.add(str(node.module).partition(".")[0])
    triton = {"triton_python_backend_utils", "c_python_backend_utils"}
    needed = {name.replace("_", "-") for name in imported - own - triton - sys.stdlib_module_names}
    assert needed == {"numpy", "soxr", "ctc-beam-decoder"}
    (install,) = [
        command for stage in Dockerfile.read(DOCKER / "server" / "Dockerfile").stages for command in stage.values("RUN")
        if "pip" in command
    ]  # fmt: skip
    pins = (ROOT / "constraints.txt").read_text(encoding="utf-8")
    for package in needed:
        assert package in install.split()
        assert re.search(rf"^{package}==\d", pins, re.MULTILINE)
    assert re.search(r"^numpy==1\.", pins, re.MULTILINE), "numpy 2 gets empty tensors from Triton 2.51"


def test_packages_are_built_of_all_their_files(dockerfile: Dockerfile, tmp_path: Path) -> None:
    for stage in dockerfile.stages:
        assemble(dockerfile, stage, ROOT, tmp_path)
    for part in (tmp_path / "build").glob("*/"):
        tracked = subprocess.run(
            ["git", "ls-files", "src"], cwd=ROOT / part.name, check=True, capture_output=True, text=True
        )
        wanted = {"pyproject.toml", *tracked.stdout.split()}
        assert len(wanted) > 5
        assert {path.relative_to(part).as_posix() for path in part.rglob("*") if path.is_file()} == wanted


@pytest.mark.parametrize("part", ["server", "export"])
@pytest.mark.parametrize(
    ("written", "found", "passes"),
    [
        ("11.2.1", "11.2.1.2+cuda13.4.1", True),
        ("11.2.1", None, False),
        ("11.2.1", "", False),
        ("11.2.1", "11.3.0.5+cuda13.4.1", False),
        ("", "11.2.1.2", False),
    ],
)
def test_a_build_stops_where_the_image_has_another_tensorrt(
    part: str, written: str, found: str | None, *, passes: bool
) -> None:
    (command,) = [each for each in Dockerfile.read(DOCKER / part / "Dockerfile").final.values("RUN") if "esac" in each]
    command = command.partition("esac")[0] + "esac"
    environment = {"TENSORRT_VERSION": written, **({} if found is None else {"TRT_VERSION": found})}
    done = subprocess.run(["/bin/sh", "-c", command], env=environment, capture_output=True, text=True, check=False)
    assert (done.returncode == 0) is passes
    if written and not passes:
        assert done.stderr == f"docker/.env says TensorRT {written}, this image has {found or 'none that it tells'}\n"
