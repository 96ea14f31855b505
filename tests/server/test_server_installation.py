"""Which tritonserver is run, and what is said of a machine that lacks something."""

import os
import re
import sys
from pathlib import Path

import pytest

from shrota_server import installation
from shrota_server.errors import InstallationError
from shrota_server.installation import STUB, choose_stub, find_installation, stub_python

VERSION = f"{sys.version_info.major}.{sys.version_info.minor}"


def make_stubs(folder: Path, *versions: str) -> Path:
    for version in versions:
        (folder / version).mkdir(parents=True)
        (folder / version / STUB).write_bytes(b"\x7fELF libpython" + version.encode() + b".so.1.0\0")
    return folder


def test_the_stub_of_this_python_is_chosen(tmp_path: Path) -> None:
    stubs = make_stubs(tmp_path, "3.8", "3.11", "3.12")
    assert choose_stub(stubs, "3.11") == stubs / "3.11" / STUB


def test_a_too_new_python_is_told_which_to_take(tmp_path: Path) -> None:
    stubs = make_stubs(tmp_path, "3.8", "3.9", "3.13")
    with pytest.raises(
        InstallationError, match=r"no stub for Python 3\.15 \(it has 3\.8 to 3\.13\).*python3\.12 -m venv"
    ):
        choose_stub(stubs, "3.15")


def test_the_python_of_a_stub_is_read_from_it(tmp_path: Path) -> None:
    stubs = make_stubs(tmp_path, "3.12")
    assert stub_python(stubs / "3.12" / STUB) == "3.12"


def test_a_missing_libpython_names_the_package(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr("sys.base_prefix", str(tmp_path))
    monkeypatch.setattr("sysconfig.get_config_var", lambda _: None)
    monkeypatch.setattr("ctypes.util.find_library", lambda _: None)
    with pytest.raises(InstallationError, match=re.escape(f"apt-get install libpython{VERSION}")):
        find_installation(tmp_path, {"PATH": ""})


def test_a_libpython_that_the_loader_knows_needs_no_folder(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr("sys.base_prefix", str(tmp_path))
    monkeypatch.setattr("sysconfig.get_config_var", lambda _: None)
    monkeypatch.setattr("ctypes.util.find_library", lambda name: f"lib{name}.so.1.0")
    assert installation.find_libpython_folder() is None


def test_numpy_2_is_refused(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(installation, "version", lambda _: "2.4.1")
    with pytest.raises(InstallationError, match=r"needs numpy 1\.26, not 2\.4\.1.*pip install 'numpy<2'"):
        find_installation(tmp_path, {"PATH": ""})


def test_another_python3_beside_the_interpreter_is_refused(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr("sys.executable", str(tmp_path / "python3.11"))
    with pytest.raises(InstallationError, match="run shrota from a virtual environment"):
        installation.check_interpreter()


def test_a_tritonserver_on_the_path_is_preferred_and_left_as_it_is(tmp_path: Path) -> None:
    native = tmp_path / "tritonserver"
    native.write_text("#!/bin/sh\n", encoding="utf-8")
    native.chmod(0o755)
    found = find_installation(tmp_path / "unused", {"PATH": str(tmp_path)})
    assert found.executable == native
    assert found.backend_directory is None
    assert found.environment["PATH"] == str(tmp_path)
    assert found.options == ()


def test_a_tritonserver_that_refuses_large_requests_is_told_to_take_them(tmp_path: Path) -> None:
    native = tmp_path / "tritonserver"
    native.write_text("#!/bin/sh\necho '  --http-max-input-size <integer>'\n", encoding="utf-8")
    native.chmod(0o755)
    found = find_installation(tmp_path / "unused", {"PATH": f"{tmp_path}:/bin"})
    assert found.options == ("--http-max-input-size=2147483647",)
    native.write_text("#!/bin/sh\nexit 1\n", encoding="utf-8")
    assert find_installation(tmp_path / "unused", {"PATH": f"{tmp_path}:/bin"}).options == ()


@pytest.mark.parametrize(
    ("device", "visible", "threshold"),
    [("missing", {}, "65536"), ("there", {}, "2097152"), ("there", {"CUDA_VISIBLE_DEVICES": ""}, "65536")],
)
def test_only_where_there_is_a_gpu_tritonserver_keeps_a_requests_blocks(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, device: str, visible: dict[str, str], threshold: str
) -> None:
    (tmp_path / "there").touch()
    monkeypatch.setattr(installation, "GPU", tmp_path / device)
    found = find_installation(tmp_path, {"PATH": "", **visible})
    assert found.environment["MALLOC_MMAP_THRESHOLD_"] == threshold


def test_thresholds_of_the_environment_come_first(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(installation, "GPU", tmp_path)
    found = find_installation(tmp_path, {"PATH": "", "MALLOC_MMAP_THRESHOLD_": "1"})
    assert found.environment["MALLOC_MMAP_THRESHOLD_"] == "1"
    assert found.environment["MALLOC_TRIM_THRESHOLD_"] == "8388608"


def test_the_embedded_server_gets_its_backends_and_libraries(tmp_path: Path) -> None:
    found = find_installation(tmp_path, {"PATH": "/nowhere", "LD_LIBRARY_PATH": "/mine"})
    assert os.access(found.executable, os.X_OK)
    assert found.backend_directory == tmp_path / "backends"
    stub = tmp_path / "backends" / "python" / STUB
    assert os.access(stub, os.X_OK)
    assert stub_python(stub) == VERSION
    assert (tmp_path / "backends" / "onnxruntime" / "model.py").is_file()
    libraries = found.environment["LD_LIBRARY_PATH"].split(os.pathsep)
    assert libraries[0].endswith("nvidia_pytriton.libs")
    assert libraries[-1] == "/mine"
    assert found.environment["PATH"] == f"{Path(sys.executable).parent}{os.pathsep}/nowhere"
