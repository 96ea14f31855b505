"""A missing, old or broken perf_analyzer is one line with the remedy."""

import re
from pathlib import Path

import pytest

from shrota_loadtest.errors import PerfAnalyzerError
from shrota_loadtest.perf_analyzer.program import NEEDED, find_program
from shrota_testing.perf_analyzer import REAL, needs_perf_analyzer, write_script

USAGE = "\n".join(f"\\t{option} <value>" for option in NEEDED)
GLIBC = "perf_analyzer: /lib/x86_64-linux-gnu/libc.so.6: version `GLIBC_2.38' not found (required by perf_analyzer)"


def usage(text: str) -> str:
    """A script that says its options to whoever gives none, and its version to whoever asks."""
    return (
        f'if [ "$1" = --version ]; then echo "Perf Analyzer Version 2.60.0 (commit abc)" >&2; exit 0; fi\n'
        f'printf "{text}" >&2; exit 99'
    )


def test_one_that_has_all_options_is_taken(tmp_path: Path) -> None:
    found = find_program(write_script(tmp_path, usage(USAGE)))
    assert (found.path, found.version) == (str(tmp_path / "perf_analyzer"), "2.60.0 (commit abc)")


def test_it_is_found_on_the_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_script(tmp_path, usage(USAGE))
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    assert find_program().path == str(tmp_path / "perf_analyzer")


@pytest.mark.parametrize(
    ("script", "why"),
    [
        (f'echo "{GLIBC.replace("`", chr(92) + "`")}" >&2; exit 1', "needs a newer C library than this system has"),
        (usage(USAGE.replace("--profile-export-file", "--old")), "is too old, it lacks --profile-export-file"),
        # not taken for the longer option's
        (usage(USAGE.replace("\\t--shared-memory", "\\t--old")), "is too old, it lacks --shared-memory"),
        ("echo some other program; exit 0", r"does not run here \(some other program\)"),
        ("exit 1", r"does not run here \(it says nothing\)"),
    ],
)
def test_one_that_cannot_be_used(tmp_path: Path, script: str, why: str) -> None:
    program = write_script(tmp_path, script)
    with pytest.raises(PerfAnalyzerError, match=f"^{re.escape(program)} {why}: take it from NVIDIA's SDK") as raised:
        find_program(program)
    text = str(raised.value)
    assert "nvcr.io/nvidia/tritonserver" in text
    assert "`pip install perf-analyzer`" in text
    assert "glibc is 2.38" in text
    assert "\n" not in text


def test_none_at_all(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(PerfAnalyzerError, match=r"^no perf_analyzer on the PATH: take it from"):
        find_program()
    with pytest.raises(PerfAnalyzerError, match=f"^no perf_analyzer at {tmp_path}/none: take it from"):
        find_program(f"{tmp_path}/none")
    (tmp_path / "data").write_text("not executable", encoding="utf-8")
    with pytest.raises(PerfAnalyzerError, match=r"^no perf_analyzer at"):
        find_program(str(tmp_path / "data"))


def test_one_for_another_machine(tmp_path: Path) -> None:
    program = tmp_path / "perf_analyzer"
    program.write_bytes(b"\x7fELF nothing")
    program.chmod(0o755)
    with pytest.raises(PerfAnalyzerError, match=r"does not run here \(.*Exec format error"):
        find_program(str(program))


@needs_perf_analyzer
def test_the_real_one() -> None:
    assert find_program(REAL).version
