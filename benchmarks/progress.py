"""What a benchmark says while it works."""

import sys


def say(text: str) -> None:
    """One line on standard error, at once."""
    print(text, file=sys.stderr, flush=True)
