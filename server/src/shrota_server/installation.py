"""Finds a ``tritonserver``: the one on the PATH (NVIDIA's container), else the one inside ``nvidia-pytriton``."""

import ctypes.util
import importlib.util
import os
import re
import shutil
import stat
import subprocess
import sys
import sysconfig
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from shrota_server.errors import InstallationError

BACKENDS = Path(__file__).parent / "backends"
SHARED = Path(__file__).parent / "backend_common"
STUB = "triton_python_backend_stub"
# where NVIDIA's container keeps the Python backend
CONTAINER_STUB = Path("/opt/tritonserver/backends/python") / STUB
NEWEST_PYTHON = "3.12"
INPUT_SIZE = "--http-max-input-size"
LARGEST_INPUT = 2**31 - 1
HELP_S = 30


# glibc's allocator keeps what a long file has used, in up to eight pools a core: memory would grow with every one.
# These make large blocks go back to the system as soon as they are free (mallopt(3)). The Python models, whose buffers
# come and go with every request, set other thresholds for themselves, see their `memory.py`.
SPARING = {"MALLOC_ARENA_MAX": "2", "MALLOC_MMAP_THRESHOLD_": "65536", "MALLOC_TRIM_THRESHOLD_": "65536"}
# gRPC takes an utterance of 10 s as ten pieces of 64 kB and joins them: eleven blocks, mapped, cleared and unmapped for
# each request, by threads that wait for one another. Two GPUs had work for three quarters of the time; of three times
# what one carries so little was taken in that callers gave up before any queue could refuse them
# (docs/decisions/0007-engine-in-pytorch.md). So where there is a GPU, blocks are kept for the next request.
KEEPING = {"MALLOC_ARENA_MAX": "2", "MALLOC_MMAP_THRESHOLD_": "2097152", "MALLOC_TRIM_THRESHOLD_": "8388608"}
GPU = Path("/dev/nvidiactl")
"""NVIDIA's driver on Linux makes it; containers that may use a GPU have it too."""


@dataclass(frozen=True)
class Installation:
    """A tritonserver, and what must be around it."""

    executable: Path
    environment: Mapping[str, str]
    backend_directory: Path | None = None
    """Where the backends of nvidia-pytriton's were put together; None for a tritonserver that brings its own."""
    options: tuple[str, ...] = ()
    """Flags that this tritonserver needs and others do not know."""


def find_installation(folder: Path, environment: Mapping[str, str] | None = None) -> Installation:
    """The tritonserver to run; the embedded one gets its backend directory assembled in ``folder``.

    Raises:
        InstallationError: what the machine lacks, with the remedy.
    """
    environment = dict(os.environ if environment is None else environment)
    # onnxruntime's wheels keep a database of usage in the home folder and send it to their maker otherwise
    environment.setdefault("ORT_DISABLE_TELEMETRY", "1")
    has_gpu = GPU.exists() and environment.get("CUDA_VISIBLE_DEVICES") not in {"", "-1"}
    for name, value in (KEEPING if has_gpu else SPARING).items():
        environment.setdefault(name, value)
    native = shutil.which("tritonserver", path=environment.get("PATH"))
    if native is not None:
        if CONTAINER_STUB.is_file() and stub_python(CONTAINER_STUB) == _python_version():
            # same Python: let the models see the packages of the environment that shrota runs in
            environment["PATH"] = _path_with_interpreter(environment)
        return Installation(Path(native), environment, options=_newer_options(native, environment))
    return _embedded(folder, environment)


def _newer_options(executable: str, environment: Mapping[str, str]) -> tuple[str, ...]:
    """Since 2025 Triton refuses HTTP requests above 64 MiB, 17 minutes of audio; `acoustic` has limits of its own."""
    try:
        answer = subprocess.run(  # noqa: S603 - the tritonserver that will be run
            [executable, "--help"], env=dict(environment), capture_output=True, text=True, timeout=HELP_S, check=False
        )
    except (OSError, subprocess.TimeoutExpired):
        return ()  # it will not start either, and says why then
    return (f"{INPUT_SIZE}={LARGEST_INPUT}",) if INPUT_SIZE in answer.stdout + answer.stderr else ()


def _embedded(folder: Path, environment: dict[str, str]) -> Installation:
    check_numpy()
    specification = importlib.util.find_spec("pytriton")
    if specification is None or not specification.submodule_search_locations:
        raise InstallationError(
            "no tritonserver on the PATH and no embedded one: run `pip install nvidia-pytriton`, "
            "or start this in NVIDIA's Triton container"
        )
    package = Path(specification.submodule_search_locations[0])
    root = package / "tritonserver"
    executable = root / "bin" / "tritonserver"
    stub = choose_stub(root / "python_backend_stubs", _python_version())
    if not executable.is_file():
        raise InstallationError(f"{executable} is missing: run `pip install --force-reinstall nvidia-pytriton`")
    _make_executable(executable)
    check_interpreter()
    libraries = [package.parent / "nvidia_pytriton.libs", find_libpython_folder(), environment.get("LD_LIBRARY_PATH")]
    environment["LD_LIBRARY_PATH"] = os.pathsep.join(str(folder) for folder in libraries if folder)
    environment["PATH"] = _path_with_interpreter(environment)
    return Installation(executable, environment, assemble_backends(root, stub, folder))


def assemble_backends(root: Path, stub: Path, folder: Path) -> Path:
    """Makes ``folder/backends``: Triton's Python backend with the stub of this Python, and our own backends."""
    backends = folder / "backends"
    shutil.copytree(root / "backends" / "python", backends / "python", ignore=shutil.ignore_patterns("__pycache__"))
    _make_executable(Path(shutil.copy(stub, backends / "python" / STUB)))
    for backend in BACKENDS.iterdir():
        if backend.is_dir() and backend.name != "__pycache__":
            shutil.copytree(backend, backends / backend.name, ignore=shutil.ignore_patterns("__pycache__"))
            for shared in SHARED.glob("*.py"):
                shutil.copy(shared, backends / backend.name)
    return backends


def choose_stub(stubs: Path, python_version: str) -> Path:
    """The stub of ``python_version`` ("3.11") among ``stubs/<version>/``.

    Raises:
        InstallationError: there is none.
    """
    stub = stubs / python_version / STUB
    if stub.is_file():
        return stub
    available = sorted((path.name for path in stubs.glob("*") if (path / STUB).is_file()), key=_version_key)
    if not available:
        raise InstallationError(f"{stubs} holds no stubs: run `pip install --force-reinstall nvidia-pytriton`")
    raise InstallationError(
        f"Triton's Python backend has no stub for Python {python_version} (it has {available[0]} to {available[-1]}): "
        f"make the environment with Python {NEWEST_PYTHON}, e.g. `python{NEWEST_PYTHON} -m venv .venv`"
    )


def stub_python(stub: Path) -> str | None:
    """The Python that a stub is linked with, e.g. "3.12"."""
    match = re.search(rb"libpython(3\.\d+)", stub.read_bytes())
    return match[1].decode() if match else None


def find_libpython_folder() -> Path | None:
    """The folder of this Python's shared library, which the stub is linked with; None if the loader knows it anyway.

    Raises:
        InstallationError: it is not installed.
    """
    name = f"libpython{_python_version()}.so.1.0"
    configured = [sysconfig.get_config_var("LIBDIR"), sysconfig.get_config_var("LIBPL")]
    for folder in [Path(sys.base_prefix) / "lib", *(Path(folder) for folder in configured if folder)]:
        if (folder / name).is_file():
            return folder
    if ctypes.util.find_library(f"python{_python_version()}") == name:
        return None
    raise InstallationError(
        f"Triton's Python backend needs {name}, which is not installed: "
        f"on Debian and Ubuntu run `apt-get install libpython{_python_version()}`"
    )


def check_numpy() -> None:
    """The embedded server hands numpy 2 empty tensors without an error, so it is refused.

    Raises:
        InstallationError: numpy 2, or none.
    """
    try:
        found = version("numpy")
    except PackageNotFoundError:
        found = "none"
    if not found.startswith("1."):
        raise InstallationError(
            f"the embedded server needs numpy 1.26, not {found} (numpy 2 gets empty tensors from it): "
            f"run `{sys.executable} -m pip install 'numpy<2'`"
        )


def check_interpreter() -> None:
    """The stub runs the first ``python3`` on the PATH, so there must be one beside this interpreter, and the same.

    Raises:
        InstallationError: the interpreter's folder has no ``python3``, or that is another Python.
    """
    beside = Path(sys.executable).with_name("python3")
    if not beside.exists() or beside.resolve() != Path(sys.executable).resolve():
        raise InstallationError(
            f"Triton's Python backend runs {beside}, which is not this Python ({sys.executable}): "
            "run shrota from a virtual environment (`python3 -m venv .venv`)"
        )


def _path_with_interpreter(environment: Mapping[str, str]) -> str:
    # not resolved: the link inside a virtual environment is what makes its packages visible
    return os.pathsep.join([str(Path(sys.executable).parent), environment.get("PATH", os.defpath)])


def _python_version() -> str:
    return f"{sys.version_info.major}.{sys.version_info.minor}"


def _version_key(text: str) -> tuple[int, ...]:
    return tuple(int(part) for part in re.findall(r"\d+", text))


def _make_executable(path: Path) -> None:
    mode = path.stat().st_mode
    if not mode & stat.S_IXUSR:
        path.chmod(mode | stat.S_IXUSR)
