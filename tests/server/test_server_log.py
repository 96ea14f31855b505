"""Triton's output is read whatever becomes of where it goes: nobody else empties its pipe."""

import io
import os
import sys
from pathlib import Path

import pytest

from shrota_server.errors import ServerError
from shrota_server.log import Log, open_log

LINES = [f"E1122 17:17:54.085972 5307 model.cc:472] line {number}" for number in range(5000)]
OUTPUT = "".join(line + "\n" for line in LINES).encode()


class FullDisk(io.BytesIO):
    """A file that takes one line."""

    def write(self, data: object) -> int:
        """Fails at the second."""
        if self.tell():
            raise OSError(28, "No space left on device")
        return super().write(data)  # type: ignore[arg-type]


class GoneTerminal(io.StringIO):
    """A standard error that nobody has any more."""

    def __init__(self, error: Exception) -> None:
        super().__init__()
        self.error = error

    def write(self, text: str) -> int:
        """Fails."""
        del text
        raise self.error


def test_a_full_disk_does_not_stop_the_reading(caplog: pytest.LogCaptureFixture) -> None:
    file = FullDisk()
    log = Log(io.BytesIO(OUTPUT), file, None)
    log._thread.join(5)
    assert file.getvalue().decode().splitlines() == LINES[:1]
    assert list(log.lines) == LINES[-len(log.lines) :]
    assert [record.getMessage() for record in caplog.records] == [
        "Triton's log cannot be written to its file any more: [Errno 28] No space left on device"
    ]
    log.close()
    assert file.closed


@pytest.mark.parametrize("error", [OSError(5, "Input/output error"), ValueError("I/O operation on closed file")])
@pytest.mark.parametrize("level", ["warning", "info"])
def test_a_standard_error_that_is_gone_does_not_stop_the_reading(
    monkeypatch: pytest.MonkeyPatch, error: Exception, level: str
) -> None:
    monkeypatch.setattr(sys, "stderr", GoneTerminal(error))
    reader, writer = os.pipe()
    with os.fdopen(reader, "rb") as stream:
        log = Log(stream, None, level)
        log.show()
        os.write(writer, OUTPUT[:1000])
        os.write(writer, b"the end\n")
        os.close(writer)
        log.close()
        assert log.lines[-1].endswith("the end")


def test_what_was_held_back_is_shown_to_nobody_if_nobody_is_there(monkeypatch: pytest.MonkeyPatch) -> None:
    log = Log(io.BytesIO(OUTPUT), None, "error")
    log._thread.join(5)
    monkeypatch.setattr(sys, "stderr", None)
    log.show()
    log.close()


def test_a_file_that_cannot_be_opened_is_named(tmp_path: Path) -> None:
    with pytest.raises(ServerError, match=r"cannot write the log file .*x\.log \(No such file or directory\): give"):
        open_log(tmp_path / "none" / "x.log")
