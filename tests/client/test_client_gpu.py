"""Which GPU there is, as ``nvidia-smi`` says; here it is a script."""

from pathlib import Path

import pytest

from shrota_client.gpu import MIB, Gpu, find_gpu

LINES = """NVIDIA L4, 8.9, 580.95.05, 23034, 22500
Tesla T4, 7.5, 580.95.05, 15360, 100
"""
L4 = Gpu("NVIDIA L4", "8.9", "580.95.05", 23034 * MIB, 22500 * MIB)


@pytest.fixture
def nvidia_smi(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A program in front of the PATH that prints ``LINES`` and keeps its arguments in ``arguments``."""
    program = tmp_path / "nvidia-smi"
    write_program(program, f"printf '%s' '{LINES}'")
    monkeypatch.setenv("PATH", str(tmp_path), prepend=":")
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    return program


def write_program(path: Path, command: str) -> None:
    path.write_text(f'#!/bin/sh\nprintf "%s" "$*" > "{path.parent}/arguments"\n{command}\n', "utf-8")
    path.chmod(0o755)


def test_the_first_gpu_is_described(nvidia_smi: Path) -> None:
    assert find_gpu() == L4
    assert str(find_gpu()) == "NVIDIA L4 (compute capability 8.9)"


@pytest.mark.parametrize(("visible", "asked"), [("1,0", "--id=1"), ("GPU-5a", "--id=GPU-5a"), ("MIG-5a", "nounits")])
def test_the_first_visible_one_is_asked_for(
    nvidia_smi: Path, monkeypatch: pytest.MonkeyPatch, visible: str, asked: str
) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)
    assert find_gpu() == L4
    assert nvidia_smi.with_name("arguments").read_text("utf-8").endswith(asked)


@pytest.mark.parametrize("visible", ["", "-1"])
def test_hidden_gpus_are_none(nvidia_smi: Path, monkeypatch: pytest.MonkeyPatch, visible: str) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)
    assert find_gpu() is None


@pytest.mark.parametrize("command", ["exit 9", "echo No devices were found", "true"])
def test_a_driver_that_does_not_work_is_none(nvidia_smi: Path, command: str) -> None:
    write_program(nvidia_smi, command)
    assert find_gpu() is None


def test_memory_that_the_driver_does_not_tell(nvidia_smi: Path) -> None:
    write_program(nvidia_smi, "echo NVIDIA GB10, 12.1, 580.95.05, [N/A], [N/A]")
    assert find_gpu() == Gpu("NVIDIA GB10", "12.1", "580.95.05", 0, 0)


def test_without_nvidia_smi_there_is_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    assert find_gpu() is None
