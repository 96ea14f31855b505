"""What the project's own commands raise on purpose is one line."""

import subprocess
from collections.abc import Callable

import pytest

from scripts.command import run
from shrota_client.errors import ManifestError


def raising(error: BaseException) -> Callable[[], None]:
    """A command that fails so."""

    def command() -> None:
        raise error

    return command


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (ManifestError("a.jsonl is empty"), "shrota: error: a.jsonl is empty"),
        (subprocess.CalledProcessError(3, "true"), 3),
        (KeyboardInterrupt(), "shrota: stopped"),
    ],
)
def test_an_expected_failure_is_one_line_or_the_code_of_the_command_within(
    error: BaseException, code: str | int
) -> None:
    with pytest.raises(SystemExit) as stopped:
        run(raising(error))
    assert stopped.value.code == code


def test_another_failure_keeps_its_traceback() -> None:
    with pytest.raises(ZeroDivisionError):
        run(raising(ZeroDivisionError()))
