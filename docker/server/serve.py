"""Starts NVIDIA's tritonserver with what the environment says; nothing stays between the two.

It runs in NVIDIA's container, with that container's Python and no package. ``docker/.env`` and the chart's
``values.yaml`` name the same settings. Arguments are handed on to tritonserver after those that are made here.

Every flag is described by ``tritonserver --help``; those of TLS and of restricted endpoints in Triton's
``docs/customization_guide/inference_protocols.md``, those of traces in ``docs/user_guide/trace.md``.
"""

import contextlib
import fcntl
import importlib.util
import os
import re
import secrets
import ssl
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from urllib.parse import urlsplit

CLOSED = "model-repository,shared-memory,logging,trace"
"""Endpoints that only whoever has the key may use. In explicit model control a caller could load what they like."""
KEY_NAME = "shrota-admin-key"
TORCH_ENGINE = "acoustic_torch"
OTLP_PATH = "/v1/traces"
SHARED_MEMORY = Path("/dev/shm")  # noqa: S108 - where POSIX shared memory is on Linux
REGION_PREFIX = "shrota-"
LOCK_SUFFIX = "-lock"
GPU = Path("/dev/nvidiactl")
SPARING = {"MALLOC_ARENA_MAX": "2", "MALLOC_MMAP_THRESHOLD_": "65536", "MALLOC_TRIM_THRESHOLD_": "65536"}
KEEPING = {"MALLOC_ARENA_MAX": "2", "MALLOC_MMAP_THRESHOLD_": "2097152", "MALLOC_TRIM_THRESHOLD_": "8388608"}
"""What glibc gives back at once: see the same names in ``server/src/shrota_server/installation.py``."""
KEY = re.compile(r"[A-Za-z0-9_-]{16,256}")
DEFAULTS = {
    "SHROTA_REPOSITORY": "/models",
    "SHROTA_ENGINES": "acoustic_onnx",
    "SHROTA_EXIT_TIMEOUT_S": "60",
    "SHROTA_CONNECTION_AGE_S": "30",
    "SHROTA_HTTP_MAX_BYTES": "134217728",
    "SHROTA_HTTP_HOST": "0.0.0.0",  # noqa: S104 - in a container of its own; who may come in is the network's business
    "SHROTA_GRPC_HOST": "0.0.0.0",  # noqa: S104
    "SHROTA_TRACE_ONE_IN": "100",
}


class SettingError(Exception):
    """A setting that tritonserver would choke on, or say nothing sensible of."""


def command(environment: Mapping[str, str], arguments: Sequence[str] = ()) -> list[str]:
    """The command line of tritonserver.

    Raises:
        SettingError: a setting cannot be right.
    """
    settings = {**DEFAULTS, **{name: value for name, value in environment.items() if value}}
    repository = settings["SHROTA_REPOSITORY"]
    words = [
        "tritonserver",
        f"--model-repository={repository}",
        # an engine is called by name from `acoustic`, which Triton cannot see: models are always loaded by name
        "--model-control-mode=explicit",
        # our configurations are complete; completing them costs a process for each Python model
        "--disable-auto-complete-config",
        "--load-model=asr",
        *(f"--load-model={engine}" for engine in engines(settings["SHROTA_ENGINES"])),
        f"--http-address={settings['SHROTA_HTTP_HOST']}",
        f"--grpc-address={settings['SHROTA_GRPC_HOST']}",
        # it would be that of HTTP: behind a proxy in the same pod, Prometheus could not reach it
        "--metrics-address=0.0.0.0",
        # else the buffers of eight finished requests are kept
        "--grpc-infer-allocation-pool-size=0",
        # gRPC clients stay with the server that they once found; after this time they look again who there is
        f"--grpc-max-connection-age={1000 * number(settings, 'SHROTA_CONNECTION_AGE_S')}",
        f"--exit-timeout-secs={number(settings, 'SHROTA_EXIT_TIMEOUT_S')}",
        # quantiles of the last minute's latencies
        "--metrics-config=summary_latencies=true",
    ]
    if name := settings.get("SHROTA_CONFIG_NAME"):
        words.append(f"--model-config-name={name}")
    if "NVIDIA_TRITON_SERVER_VERSION" in settings:
        # NVIDIA's images say so. Triton of 2025 and later takes no more than 64 MiB over HTTP by itself; the embedded
        # 2.51 has no such flag
        words.append(f"--http-max-input-size={number(settings, 'SHROTA_HTTP_MAX_BYTES')}")
    return [*words, *restrictions(settings), *encryption(settings), *tracing(settings), *arguments]


def engines(text: str) -> list[str]:
    """The engines' names, parted by commas; the first runs the requests that name none."""
    names = [name.strip() for name in text.split(",") if name.strip()]
    unknown = [name for name in names if name not in {"acoustic_onnx", "acoustic_trt", TORCH_ENGINE}]
    if unknown or not names:
        raise SettingError(f"SHROTA_ENGINES={text!r}: name acoustic_onnx, acoustic_trt or both, parted by a comma")
    # Triton's stub has the packages of this Python, the first on the PATH
    if TORCH_ENGINE in names and importlib.util.find_spec("torch") is None:
        raise SettingError(
            f"SHROTA_ENGINES={text!r}: {TORCH_ENGINE} needs PyTorch, which this image has not: "
            "name acoustic_onnx or acoustic_trt, or build an image with PyTorch in /opt/shrota"
        )
    return names


def restrictions(settings: Mapping[str, str]) -> list[str]:
    """Flags that close administration: with the key of a file, or with one that nobody knows."""
    file = settings.get("SHROTA_ADMIN_KEY_FILE")
    key = read(file, "SHROTA_ADMIN_KEY_FILE").strip() if file else secrets.token_urlsafe(32)
    if not KEY.fullmatch(key):
        raise SettingError(f"the key in {file} must be 16 to 256 letters, digits, '-' and '_': `openssl rand -hex 32`")
    rule = f"{CLOSED}:{KEY_NAME}={key}"
    return [f"--http-restricted-api={rule}", f"--grpc-restricted-protocol={rule}"]


def encryption(settings: Mapping[str, str]) -> list[str]:
    """Flags of gRPC with TLS, mutual where there are authorities of clients."""
    names = ("SHROTA_GRPC_CERT", "SHROTA_GRPC_KEY", "SHROTA_GRPC_CLIENT_CA")
    certificate, private_key, authorities = (settings.get(name) for name in names)
    if not certificate and not private_key and not authorities:
        return []
    if not certificate or not private_key:
        raise SettingError("gRPC is encrypted with SHROTA_GRPC_CERT and SHROTA_GRPC_KEY: set both, or neither")
    for name in names:
        if path := settings.get(name):
            read(path, name)
    # Triton would say no more of a bad file than that its port is in use
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    try:
        context.load_cert_chain(certificate, private_key, password=lambda: "")
    except (ssl.SSLError, ValueError) as error:
        raise SettingError(
            f"gRPC cannot be encrypted with SHROTA_GRPC_CERT={certificate} and SHROTA_GRPC_KEY={private_key} "
            f"({reason(error)}): give a certificate and its own key, without a passphrase, both as PEM"
        ) from error
    if authorities:
        try:
            context.load_verify_locations(authorities)
        except ssl.SSLError as error:
            raise SettingError(
                f"SHROTA_GRPC_CLIENT_CA={authorities} holds no certificate of an authority ({reason(error)})"
            ) from error
    how = "--grpc-use-ssl-mutual" if authorities else "--grpc-use-ssl"
    flags = [f"{how}=true", f"--grpc-server-cert={certificate}", f"--grpc-server-key={private_key}"]
    return [*flags, *([f"--grpc-root-cert={authorities}"] if authorities else [])]


def reason(error: Exception) -> str:
    """What OpenSSL says, in words."""
    return str(getattr(error, "reason", None) or error).lower().replace("_", " ")


def tracing(settings: Mapping[str, str]) -> list[str]:
    """Flags of traces to a collector that takes OTLP over HTTP; an address without a path is given OTLP's."""
    url = settings.get("SHROTA_TRACE_URL")
    if not url:
        return []
    parts = urlsplit(url)
    if parts.scheme not in {"http", "https"} or not parts.hostname:
        raise SettingError(f"SHROTA_TRACE_URL={url!r} is no address of a collector: http://HOST:4318{OTLP_PATH}")
    if not parts.path.strip("/"):
        url = url.rstrip("/") + OTLP_PATH
    one_in = number(settings, "SHROTA_TRACE_ONE_IN")
    options = ("mode=opentelemetry", f"opentelemetry,url={url}", "opentelemetry,resource=service.name=shrota")
    return [f"--trace-config={each}" for each in (*options, "level=TIMESTAMPS", f"rate={one_in}", "count=-1")]


def number(settings: Mapping[str, str], name: str) -> int:
    """A whole number, 0 or more."""
    text = settings[name]
    if not re.fullmatch(r"[0-9]{1,9}", text):
        raise SettingError(f"{name}={text!r} is no whole number")
    return int(text)


def read(path: str, name: str) -> str:
    """The text of a file that a setting names."""
    try:
        return Path(path).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise SettingError(f"{name}: cannot read {path}: {getattr(error, 'strerror', error)}") from error


def sweep() -> None:
    """Removes shared-memory regions of servers of this user that are dead, however they died.

    Where a container is started anew in the same pod, its /dev/shm stays, and Triton removes nothing that a killed
    server left: it counts as memory until the pod goes. ``shrota_server.instance`` does the same: each server's
    regions have a name of their own, and beside them a file that its processes keep locked while one of them lives.
    """
    for path in SHARED_MEMORY.glob(f"{REGION_PREFIX}*{LOCK_SUFFIX}"):
        with contextlib.suppress(OSError):  # gone meanwhile, another user's, or locked: one of its processes lives
            descriptor = os.open(path, os.O_RDWR | os.O_NOFOLLOW)
            try:
                if os.fstat(descriptor).st_uid != os.getuid():
                    continue
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                for region in SHARED_MEMORY.glob(f"{path.name.removesuffix(LOCK_SUFFIX)}-*"):
                    if region != path:
                        region.unlink(missing_ok=True)
                path.unlink(missing_ok=True)
            finally:
                os.close(descriptor)


def claim() -> str:
    """What the names of this server's regions start with; the lock on them goes to tritonserver and its processes."""
    while True:
        name = f"{REGION_PREFIX}{secrets.token_hex(6)}"
        descriptor = os.open(SHARED_MEMORY / (name + LOCK_SUFFIX), os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600)
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        if os.fstat(descriptor).st_nlink:
            os.set_inheritable(descriptor, True)
            return f"{name}-"
        os.close(descriptor)  # another server that starts has swept it before it was locked


def thresholds(environment: Mapping[str, str]) -> Mapping[str, str]:
    """What glibc gives back at once; where there is a GPU, blocks are kept for the next of many requests."""
    return KEEPING if GPU.exists() and environment.get("CUDA_VISIBLE_DEVICES") not in {"", "-1"} else SPARING


def main() -> None:
    """Becomes tritonserver."""
    try:
        words = command(os.environ, sys.argv[1:])
    except SettingError as error:
        sys.exit(f"shrota: {error}")
    if not any("shm-region-prefix-name" in word for word in words):
        try:
            sweep()
            words.append(f"--backend-config=python,shm-region-prefix-name={claim()}")
        except OSError as error:
            sys.exit(f"shrota: shared memory cannot be used: {error}")
    # `acoustic` reads which engine runs what names none
    first = engines(os.environ.get("SHROTA_ENGINES") or DEFAULTS["SHROTA_ENGINES"])[0]
    environment = {**thresholds(os.environ), **os.environ, "SHROTA_ENGINE": first}
    os.execvpe(words[0], words, environment)  # noqa: S606 - that is its purpose


if __name__ == "__main__":
    main()
