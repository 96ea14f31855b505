"""What the server image makes of its environment: tritonserver's flags."""

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from shrota_server import installation
from shrota_testing import scripts
from shrota_testing.repository import ROOT

SERVE: Any = scripts.load(scripts.SERVE)
KEY = "0123456789abcdef"
TLS = ROOT / "tests/client/tls"
PAIR = {"SHROTA_GRPC_CERT": str(TLS / "server.pem"), "SHROTA_GRPC_KEY": str(TLS / "server.key")}


def flags(**settings: str) -> list[str]:
    """The flags for some settings."""
    return list(SERVE.command(settings))[1:]


def test_without_settings_the_volume_is_served_by_onnx_runtime() -> None:
    made = flags()
    assert made[:5] == [
        "--model-repository=/models",
        "--model-control-mode=explicit",
        "--disable-auto-complete-config",
        "--load-model=asr",
        "--load-model=acoustic_onnx",
    ]
    assert "--exit-timeout-secs=60" in made
    assert "--grpc-max-connection-age=30000" in made
    assert not [flag for flag in made if "ssl" in flag or "trace-config" in flag or "config-name" in flag]


def test_glibc_keeps_blocks_where_there_is_a_gpu_as_shrota_serve_does(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    assert (SERVE.SPARING, SERVE.KEEPING) == (installation.SPARING, installation.KEEPING)
    assert SERVE.GPU == installation.GPU
    monkeypatch.setattr(SERVE, "GPU", tmp_path / "nvidiactl")
    assert SERVE.thresholds({}) == SERVE.SPARING
    SERVE.GPU.touch()
    assert SERVE.thresholds({}) == SERVE.KEEPING
    assert SERVE.thresholds({"CUDA_VISIBLE_DEVICES": "-1"}) == SERVE.SPARING


def test_what_is_set_to_nothing_is_not_set() -> None:
    empty = dict.fromkeys(scripts.settings_of(scripts.SERVE), "")
    assert [f for f in flags(**empty) if "restricted" not in f] == [f for f in flags() if "restricted" not in f]


def test_nvidia_s_images_take_longer_audio_over_http() -> None:
    assert "--http-max-input-size=134217728" in flags(NVIDIA_TRITON_SERVER_VERSION="25.10")
    assert "--http-max-input-size=7" in flags(NVIDIA_TRITON_SERVER_VERSION="25.10", SHROTA_HTTP_MAX_BYTES="7")
    assert not [flag for flag in flags() if flag.startswith("--http-max")]


def test_both_engines_are_loaded_and_the_first_is_the_usual_one() -> None:
    made = flags(SHROTA_ENGINES="acoustic_trt, acoustic_onnx")
    assert [flag for flag in made if flag.startswith("--load-model")] == [
        "--load-model=asr",
        "--load-model=acoustic_trt",
        "--load-model=acoustic_onnx",
    ]
    assert SERVE.engines("acoustic_trt, acoustic_onnx")[0] == "acoustic_trt"


@pytest.mark.parametrize("there", [True, False])
def test_the_engine_of_pytorch_is_loaded_where_pytorch_is(monkeypatch: pytest.MonkeyPatch, *, there: bool) -> None:
    asked = []

    def find_spec(name: str) -> object:
        asked.append(name)
        return object() if there else None

    monkeypatch.setattr(SERVE.importlib.util, "find_spec", find_spec)
    assert SERVE.engines("acoustic_onnx") == ["acoustic_onnx"]
    assert not asked
    if there:
        assert "--load-model=acoustic_torch" in flags(SHROTA_ENGINES="acoustic_torch,acoustic_onnx")
    else:
        with pytest.raises(
            SERVE.SettingError, match=r"^[^\n]*acoustic_torch needs PyTorch, which this image has not: [^\n]*$"
        ):
            flags(SHROTA_ENGINES="acoustic_torch,acoustic_onnx")
    assert asked == ["torch"]


def test_a_repository_may_be_in_an_object_store() -> None:
    assert "--model-repository=s3://bucket/models" in flags(SHROTA_REPOSITORY="s3://bucket/models")


def test_administration_is_closed_by_a_key_that_nobody_knows() -> None:
    first, second = ([flag for flag in flags() if "restricted" in flag] for _ in range(2))
    assert len(first) == 2
    assert first[0] != second[0], "the key is made anew at every start"
    rule = "model-repository,shared-memory,logging,trace:shrota-admin-key="
    assert first[0].startswith(f"--http-restricted-api={rule}")
    assert first[1].startswith(f"--grpc-restricted-protocol={rule}")


def test_a_key_in_a_file_opens_it(tmp_path: Path) -> None:
    file = tmp_path / "key"
    file.write_text(f"{KEY}\n", encoding="ascii")
    made = [flag for flag in flags(SHROTA_ADMIN_KEY_FILE=str(file)) if "restricted" in flag]
    assert {flag.rpartition("=")[2] for flag in made} == {KEY}


def test_the_doors_are_those_of_shrota_serve() -> None:
    access = pytest.importorskip("shrota_server.access")
    assert access.KEY_NAME == SERVE.KEY_NAME
    assert ",".join(access.CLOSED) == SERVE.CLOSED
    assert access.restrictions(KEY) == [
        f"--http-restricted-api={SERVE.CLOSED}:{SERVE.KEY_NAME}={KEY}",
        f"--grpc-restricted-protocol={SERVE.CLOSED}:{SERVE.KEY_NAME}={KEY}",
    ]


def test_grpc_is_encrypted_and_asks_for_certificates() -> None:
    names = {
        "SHROTA_GRPC_CERT": "server.pem",
        "SHROTA_GRPC_KEY": "server.key",
        "SHROTA_GRPC_CLIENT_CA": "authority.pem",
    }
    paths = {name: str(TLS / file) for name, file in names.items()}
    mutual = [flag for flag in flags(**paths) if flag.startswith(("--grpc-use", "--grpc-server", "--grpc-root"))]
    assert mutual == [
        "--grpc-use-ssl-mutual=true",
        f"--grpc-server-cert={paths['SHROTA_GRPC_CERT']}",
        f"--grpc-server-key={paths['SHROTA_GRPC_KEY']}",
        f"--grpc-root-cert={paths['SHROTA_GRPC_CLIENT_CA']}",
    ]
    del paths["SHROTA_GRPC_CLIENT_CA"]
    assert "--grpc-use-ssl=true" in flags(**paths)


def test_traces_go_to_a_collector() -> None:
    made = [
        flag
        for flag in flags(SHROTA_TRACE_URL="http://otel:4318/v1/traces", SHROTA_TRACE_ONE_IN="7")
        if "trace-" in flag
    ]
    assert made == [
        "--trace-config=mode=opentelemetry",
        "--trace-config=opentelemetry,url=http://otel:4318/v1/traces",
        "--trace-config=opentelemetry,resource=service.name=shrota",
        "--trace-config=level=TIMESTAMPS",
        "--trace-config=rate=7",
        "--trace-config=count=-1",
    ]


@pytest.mark.parametrize("url", ["http://otel:4318", "http://otel:4318/"])
def test_a_collector_without_a_path_is_given_otlp_s_as_shrota_serve_does(url: str) -> None:
    assert "--trace-config=opentelemetry,url=http://otel:4318/v1/traces" in flags(SHROTA_TRACE_URL=url)
    tracing = pytest.importorskip("shrota_server.tracing").Tracing(url)
    assert "opentelemetry,url=http://otel:4318/v1/traces" in tracing.options()


def test_behind_a_proxy_only_the_metrics_are_reached_from_outside() -> None:
    assert [flag for flag in flags() if "-address=" in flag] == [
        "--http-address=0.0.0.0",
        "--grpc-address=0.0.0.0",
        "--metrics-address=0.0.0.0",
    ]
    assert [
        flag for flag in flags(SHROTA_HTTP_HOST="127.0.0.1", SHROTA_GRPC_HOST="127.0.0.1") if "-address=" in flag
    ] == [
        "--http-address=127.0.0.1",
        "--grpc-address=127.0.0.1",
        "--metrics-address=0.0.0.0",
    ]


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Callable[[], tuple[subprocess.Popen[str], Path]]]:
    """Starts the program with a tritonserver that makes one region and waits; process and region."""
    fake = tmp_path / "tritonserver"
    prefix = "--backend-config=python,shm-region-prefix-name="
    fake.write_text(
        f'#!/bin/sh\nfor word; do case "$word" in {prefix}*) region="/dev/shm/${{word#{prefix}}}of-a-test" ;; esac\n'
        "done\n"
        'touch "$region"; echo "$region"; exec sleep 60\n',
        encoding="utf-8",
    )
    fake.chmod(0o755)
    started: list[subprocess.Popen[str]] = []
    regions = []

    def start() -> tuple[subprocess.Popen[str], Path]:
        environment = {"PATH": f"{tmp_path}:{os.environ['PATH']}"}
        process = subprocess.Popen([sys.executable, scripts.SERVE], env=environment, stdout=subprocess.PIPE, text=True)
        started.append(process)
        assert process.stdout is not None
        regions.append(Path(process.stdout.readline().strip()))
        return process, regions[-1]

    yield start
    for process in started:
        process.kill()
        process.communicate()
    for region in regions:
        region.unlink(missing_ok=True)
        lock_of(region).unlink(missing_ok=True)


def lock_of(region: Path) -> Path:
    """The file that is locked while one of a region's processes lives."""
    return region.with_name(region.name.removesuffix("of-a-test") + "lock")


def test_what_a_killed_server_left_in_shared_memory_is_removed_by_the_next(
    start: Callable[[], tuple[subprocess.Popen[str], Path]],
) -> None:
    first, left = start()
    living, kept = start()
    assert left.exists(), "it lives"
    foreign = left.with_name("shrota_of_nobody")
    foreign.touch()
    first.kill()
    first.wait()
    assert (left.exists(), lock_of(left).exists()) == (True, True)
    _, new = start()
    assert (left.exists(), lock_of(left).exists()) == (False, False)
    assert living.poll() is None
    assert kept.exists()
    assert new.exists()
    assert foreign.exists()
    foreign.unlink()


@pytest.mark.skipif(os.getuid() != 0, reason="only root can give a file away")
def test_what_another_user_left_stays(start: Callable[[], tuple[subprocess.Popen[str], Path]]) -> None:
    first, left = start()
    first.kill()
    first.wait()
    os.chown(lock_of(left), 12345, 12345)
    start()
    assert left.exists()


def test_regions_are_named_as_those_of_shrota_serve() -> None:
    instance = pytest.importorskip("shrota_server.instance")
    assert (SERVE.REGION_PREFIX, SERVE.LOCK_SUFFIX) == (instance.FOLDER_PREFIX, instance.LOCK_SUFFIX)


def test_what_follows_the_command_goes_to_triton() -> None:
    assert SERVE.command({}, ["--log-verbose=1"])[-1] == "--log-verbose=1"


@pytest.mark.parametrize(
    ("settings", "text"),
    [
        ({"SHROTA_ENGINES": "acoustic_onnx,other"}, "name acoustic_onnx, acoustic_trt or both"),
        ({"SHROTA_ENGINES": ","}, "name acoustic_onnx, acoustic_trt or both"),
        ({"SHROTA_EXIT_TIMEOUT_S": "1m"}, "SHROTA_EXIT_TIMEOUT_S='1m' is no whole number"),
        ({"SHROTA_GRPC_CERT": "/c"}, "set both, or neither"),
        ({"SHROTA_GRPC_CLIENT_CA": "/c"}, "set both, or neither"),
        ({"SHROTA_GRPC_CERT": "/nowhere", "SHROTA_GRPC_KEY": "/nowhere"}, "cannot read /nowhere: No such file"),
        ({**PAIR, "SHROTA_GRPC_KEY": str(TLS / "client.key")}, r"client\.key \(key values mismatch\)"),
        ({**PAIR, "SHROTA_GRPC_CERT": "/dev/null"}, "both as PEM"),
        ({**PAIR, "SHROTA_GRPC_CLIENT_CA": str(TLS / "server.key")}, "holds no certificate of an authority"),
        ({"SHROTA_ADMIN_KEY_FILE": "/dev/null"}, "16 to 256 letters"),
        ({"SHROTA_TRACE_URL": "otel:4318"}, "no address of a collector"),
    ],
)
def test_a_setting_that_cannot_be_right_is_said_in_one_line(settings: dict[str, str], text: str) -> None:
    with pytest.raises(SERVE.SettingError, match=text) as caught:
        flags(**settings)
    assert "\n" not in str(caught.value)
