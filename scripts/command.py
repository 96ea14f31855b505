"""How the project's own commands end: what they raise on purpose is one line on standard error."""

import subprocess
import sys
from collections.abc import Callable

from shrota_client.errors import ShrotaError


def run(command: Callable[[], None]) -> None:
    """Runs a command. A `ShrotaError` or Ctrl-C is one line; a failed command within has said its own."""
    try:
        command()
    except ShrotaError as error:
        sys.exit(f"shrota: error: {error}")
    except subprocess.CalledProcessError as error:
        sys.exit(error.returncode)
    except KeyboardInterrupt:
        sys.exit("shrota: stopped")
