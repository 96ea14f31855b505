"""What happens where output cannot be written: a full disk, a missing folder, a closed standard output."""

import contextlib
from collections.abc import Iterator
from pathlib import Path

from shrota_client.errors import OutputError, ShrotaError

STANDARD_OUTPUT = "standard output"


@contextlib.contextmanager
def writing(place: str | Path) -> Iterator[None]:
    """Around everything that opens, writes, flushes or closes ``place``, which the message names.

    A broken pipe is left as it is: whoever read has had enough, and the command line ends without a word.

    Raises:
        OutputError: instead of any other :class:`OSError` that is not an error of ours.
    """
    try:
        yield
    except (BrokenPipeError, ShrotaError):
        raise
    except OSError as error:
        remedy = "check that it may be written and has room, or choose another place"
        raise OutputError(f"cannot write {place} ({error.strerror or error}): {remedy}") from error
