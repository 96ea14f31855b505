"""Why a start failed: one line, with its remedy, from Triton's log."""

import re
from collections.abc import Callable, Iterable, Sequence

from shrota_server.log import is_harmless, message

EXPORT = "run `shrota export onnx CHECKPOINT`"
PORT_IN_USE = "already in use"
_OPTIONS = {"HTTP": "--http-port", "GRPC": "--grpc-port", "METRICS": "--metrics-port"}


def find_cause(lines: Iterable[str]) -> str:
    """The cause of a failed start, in one line, from the lines of Triton's log."""
    texts = [line for line in lines if not is_harmless(line)]
    for find in _FINDERS:
        for line in texts:
            if (cause := find(line, texts)) is not None:
                return " ".join(cause.split())
    return "Triton ended without a word: see its log (`--log-level info`)"


def _shared_library(line: str, _: Sequence[str]) -> str | None:
    match = re.search(r"error while loading shared libraries: ([^:\s]+)", line)
    if match is None:
        return None
    package = re.sub(r"\.so.*", "", match[1])
    is_python = package.startswith("libpython")
    remedy = f"on Debian and Ubuntu run `apt-get install {package}`" if is_python else "install it"
    return f"Triton needs the shared library {match[1]}, which is not installed: {remedy}"


def _shared_memory(line: str, _: Sequence[str]) -> str | None:
    if "hared memory" not in line or "No space left" not in line:
        return None
    remedy = "free some of it, or give the container more, e.g. `docker run --shm-size=1g`"
    return f"the shared memory (/dev/shm) is full: {remedy}"


def _port(line: str, _: Sequence[str]) -> str | None:
    match = re.search(r"failed to start (\w+)(?: \w+)*: .*Socket '([^']+)' already in use", line, re.IGNORECASE)
    if match is None:
        return None
    option = _OPTIONS.get(match[1].upper(), "another port option")
    port = match[2].rpartition(":")[2]
    return f"port {port} is {PORT_IN_USE}: stop what listens there, or give another with {option}"


def _bad_config(line: str, lines: Sequence[str]) -> str | None:
    match = re.search(r"Poll failed for model directory '([^']+)': (.*)", message(line))
    if match is None:
        return None
    parser = re.compile(r"Error parsing text-format inference\.ModelConfig: (.*)")
    details = [found[1] for other in lines if (found := parser.search(other))]
    return f"config.pbtxt of model {match[1]} cannot be read: {details[-1] if details else match[2]}"


def _failed_model(line: str, _: Sequence[str]) -> str | None:
    match = re.search(r"failed to load '([^']+)' version \d+: (.*)", message(line))
    if match is None:
        return None
    reason = without_kind(match[2])
    if "model.onnx" in reason and "shrota export" not in reason:  # NVIDIA's backend
        reason = f"{reason}: {EXPORT}"
    return f"model {match[1]} cannot be loaded: {reason}"


def _failed_creation(line: str, _: Sequence[str]) -> str | None:
    match = re.match(r"error: creating server: (.*)", line)
    return without_kind(re.sub(r"^[\w ]+ - ", "", match[1])) if match else None


def _first_error(line: str, _: Sequence[str]) -> str | None:
    return without_kind(message(line)) if re.match(r"[EF]\d{4} ", line) else None


def _last_line(_: str, lines: Sequence[str]) -> str | None:
    return next((message(line) for line in reversed(lines) if line.strip()), None)


def without_kind(text: str) -> str:
    """An error's text without the kinds before it and the Python stack after it (whose newlines are escaped)."""
    text = re.split(r"\\n\\nAt:|\\n *At:", text)[0].replace("\\n", " ")
    kinds = r"^(?:(?:Internal|Invalid argument|Not found|Unavailable|TritonModelException): )+"
    return re.sub(kinds, "", text).rstrip(" ;")


Finder = Callable[[str, Sequence[str]], str | None]
# the most telling first
_FINDERS: Sequence[Finder] = (
    _shared_library,
    _shared_memory,
    _port,
    _bad_config,
    _failed_model,
    _failed_creation,
    _first_error,
    _last_line,
)
