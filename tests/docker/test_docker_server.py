"""The server image without a container: its files, started by its own command with the embedded tritonserver."""

import contextlib
import re
import shutil
import subprocess
import sys
import threading
import venv
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import psutil
import pytest

from shrota_client import Client, Decoding, Timeouts
from shrota_client.address import Address
from shrota_client.configuration import read_configuration, write_configuration
from shrota_client.errors import ServerUnavailableError
from shrota_client.settings import Retry
from shrota_client.transports.grpc_common import channel_options
from shrota_server.installation import find_installation
from shrota_testing import scripts
from shrota_testing.container import Container, free_ports
from shrota_testing.dns import NameServer
from shrota_testing.dockerfile import Dockerfile
from shrota_testing.engines import write_tiny_engine
from shrota_testing.repository import ROOT, TOKENS, set_instances
from shrota_testing.scripts import load
from shrota_testing.triton import call_http, halted, is_at_work, statistics, stub_pid, wait_until
from shrota_testing.utterances import expected_text, noise

pytestmark = pytest.mark.triton
Image = tuple[Path, dict[str, str]]
# what the first stage of the image installs
IMAGE_PACKAGES = ("numpy", "numpy.libs", "soxr", "ctc_beam_decoder*")
# of our ONNX Runtime backend, in whose place NVIDIA's image has its own
ENGINE_PACKAGES = ("onnxruntime", "flatbuffers", "packaging", "google", "sympy", "mpmath")
PROBE: Any = load(scripts.PROBE)


def probe(server: Container, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Runs the image's probe against a server."""
    ports = [f"--{name}={getattr(server.ports, name)}" for name in ("http", "grpc", "metrics")]
    ports.append(f"--server={server.process.pid}")
    command = [sys.executable, str(server.image / "opt/shrota/probe.py"), *arguments, *ports]
    return subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)


def test_the_image_s_files_are_all_that_a_transcript_needs(container: Container) -> None:
    audio = noise(3)
    with Client(container.grpc_url) as client:
        assert client.transcribe(audio).text == expected_text(audio) != ""


def test_the_packages_of_the_image_suffice_and_are_found_where_it_puts_them(image: Image, tmp_path: Path) -> None:
    """In an environment of their own, whose python3 is the first on the PATH: Triton's stub heeds no PYTHONPATH."""
    import soxr

    venv.create(tmp_path, with_pip=False, symlinks=True)
    (packages,) = tmp_path.glob("lib/python*/site-packages")
    installed = Path(soxr.__file__).parents[1]
    for name in (*IMAGE_PACKAGES, *ENGINE_PACKAGES):
        for found in installed.glob(name):
            (packages / found.name).symlink_to(found)
    (packages / "soxr").unlink()
    place = shutil.copytree(installed / "soxr", packages / "soxr")
    with Container(*image, python=tmp_path) as server, Client(server.grpc_url) as client:
        search = Decoding(beam_width=4, n_best=2)
        heard = client.transcribe(noise(1), parameters={"sample_rate": 8000}, decoding=search)
        process = psutil.Process(stub_pid(server.process.pid, "acoustic"))
        loaded = {mapping.path for mapping in process.memory_maps() if "/soxr/" in mapping.path}
    assert len(heard.alternatives) == 2
    assert loaded
    assert {Path(path).parent for path in loaded} == {place}


def test_the_command_of_the_image_is_the_one_that_was_started() -> None:
    stage = Dockerfile.read(ROOT / "docker/server/Dockerfile").final
    assert stage.values("CMD") == ['["python3", "/opt/shrota/serve.py"]']


def test_every_flag_is_one_of_triton_s(tmp_path: Path, image: Image) -> None:
    installation = find_installation(tmp_path)
    command, environment = [str(installation.executable), "--help"], dict(installation.environment)
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    known = set(re.findall(r"--[a-z][a-z0-9-]+", done.stdout + done.stderr))
    assert "--model-repository" in known
    source = (image[0] / "opt/shrota/serve.py").read_text(encoding="utf-8")
    used = set(re.findall(r'f?"(--[a-z][a-z0-9-]+)', source))
    assert len(used) >= 15
    assert used - known == {"--http-max-input-size"}, "only NVIDIA's later images get that one"


def test_a_repository_without_an_engine_ends_the_start_in_triton_s_words(image: Image, tmp_path: Path) -> None:
    """As the handbook has it: nothing of ours looks before."""
    root = shutil.copytree(image[0], tmp_path / "image")
    (root / "models/acoustic_onnx/1/model.onnx").unlink()
    server = Container(root, image[1])
    server.start()
    assert server.process.wait(60)
    server.process.stop()
    assert server.process.describe_exit() == "exit code 1"
    assert any("failed to load 'acoustic_onnx' version 1: " in line for line in server.process.log.lines)


@pytest.mark.parametrize("path", ["repository/models/asr/unload", "repository/models/acoustic_trt/load"])
def test_administration_is_closed(container: Container, path: str) -> None:
    status, answer = call_http(container.http_url, f"/v2/{path}", {})
    assert status == 403
    assert "restricted" in answer["error"]
    assert container.control.is_ready(["asr"])


@pytest.mark.parametrize("what", ["live", "ready"])
def test_a_server_that_transcribes_is_well(container: Container, what: str) -> None:
    done = probe(container, what)
    assert (done.returncode, done.stderr) == (0, "")


def test_a_server_that_is_not_there_is_not_well(container: Container) -> None:
    done = subprocess.run(
        [sys.executable, container.image / "opt/shrota/probe.py", "live", f"--http={free_ports('127.0.0.1').http}",
         f"--metrics={container.ports.metrics}", f"--server={container.process.pid}"],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 1
    assert re.fullmatch(r"shrota: the server does not answer: .*refused.*\n", done.stderr)


def test_a_dead_python_model_is_found_though_triton_says_that_it_is_ready(image: Image) -> None:
    with Container(*image) as server:
        psutil.Process(stub_pid(server.process.pid, "acoustic")).kill()
        assert wait_until(lambda: probe(server, "live", "--timeout=3").returncode == 1, 20)
        done = probe(server, "ready", "--timeout=3", "--attempts=2")
        assert done.returncode == 1
        assert "the process of a Python model has died" in done.stderr
        assert server.control.is_ready(["asr", "acoustic", "acoustic_onnx"])


def test_one_dead_process_of_two_is_found_though_every_other_request_is_answered(image: Image) -> None:
    body = {
        "inputs": [{"name": "AUDIO", "datatype": "FP32", "shape": [1, 1600], "data": [0.0] * 1600}],
        "outputs": [{"name": "TRANSCRIPT"}],
    }
    with Container(*image) as server:
        assert probe(server, "live").returncode == 0
        psutil.Process(stub_pid(server.process.pid, "ctc_decoder")).kill()
        seen = set()

        def both() -> bool:
            status, answer = call_http(server.http_url, "/v2/models/asr/infer", body)
            seen.add("" if status == 200 else re.sub(r"'\w+_0_\d'", "…", answer["error"]))
            return len(seen) == 2

        assert wait_until(both, 20)
        assert seen == {"", "in ensemble 'asr', Stub process … is not healthy."}
        assert [probe(server, "live").returncode for _ in range(4)] == [1] * 4


def test_an_engine_that_stands_still_is_found(image: Image) -> None:
    """Triton notices: a process that is stopped answers it no more."""
    with Container(*image) as server:
        assert probe(server, "live", "--timeout=3").returncode == 0
        with halted(server.process.pid, "acoustic_onnx"):
            done = probe(server, "live", "--timeout=3")
        assert done.returncode == 1
        assert re.match("shrota: (the server does not transcribe|no answer within 3 s)", done.stderr)


HANGING_MODEL = """
import pathlib, time

class TritonPythonModel:
    def execute(self, requests):
        while not pathlib.Path(__file__).with_name("released").exists():
            time.sleep(0.05)
        raise RuntimeError("it hung")
"""


def test_an_engine_that_hangs_is_found_though_requests_are_taken(image: Image, tmp_path: Path) -> None:
    """Its process is well, so Triton notices nothing; and `acoustic` takes every request with success."""
    root = shutil.copytree(image[0], tmp_path / "image")
    engine = root / "models/acoustic_onnx"
    config: Any = read_configuration(engine / "config.pbtxt")
    config.backend, config.default_model_filename = "python", "model.py"
    del config.model_warmup[:]
    (engine / "config.pbtxt").write_text(write_configuration(config), encoding="utf-8")
    (engine / "1/model.py").write_text(HANGING_MODEL, encoding="utf-8")
    with Container(root, image[1]) as server:
        before = served(server, "acoustic")
        done = probe(server, "live", "--timeout=1")
        assert (done.returncode, done.stderr) == (1, "shrota: no answer within 1 s, and nothing else gets done\n")
        assert served(server, "acoustic") == before + 1
        (engine / "1/released").touch()


@pytest.fixture(scope="module")
def slow_image(image: Image, tmp_path_factory: pytest.TempPathFactory) -> Image:
    """The image with an engine that takes seconds for minutes of audio, and one decoder."""
    root = shutil.copytree(image[0], tmp_path_factory.mktemp("slow") / "image")
    write_tiny_engine(root / "models/acoustic_onnx/1/model.onnx", len(TOKENS), ballast=16384)
    set_instances(root / "models/ctc_decoder/config.pbtxt", 1)
    return root, image[1]


def test_a_server_that_refuses_the_probe_under_load_is_well(slow_image: Image) -> None:
    with Container(*slow_image) as server, ThreadPoolExecutor(12) as pool:
        stop = threading.Event()

        def load(seed: int) -> None:
            with Client(server.grpc_url, retry=Retry(attempts=1)) as client:
                while not stop.is_set():
                    with contextlib.suppress(ServerUnavailableError):
                        client.transcribe(noise(100, seed))

        callers = [pool.submit(load, seed) for seed in range(12)]
        body = {
            "inputs": [{"name": "AUDIO", "datatype": "FP32", "shape": [1, 1600], "data": [0.0] * 1600}],
            "parameters": {"timeout": 500_000},
        }

        def refusal() -> str:
            return str(call_http(server.http_url, "/v2/models/asr/infer", body)[1].get("error"))

        try:
            assert wait_until(lambda: "more work than can be done in time" in refusal(), 30)
            for what in ("live", "ready"):
                done = probe(server, what, "--timeout=0.5")
                assert (done.returncode, done.stderr) == (0, "")
            assert "more work than can be done in time" in refusal(), "it was refused all the time"
        finally:
            stop.set()
        for caller in callers:
            caller.result(120)


def test_who_is_before_the_last_step_when_triton_is_told_to_end_is_refused(slow_image: Image) -> None:
    """Why `drain` comes first."""
    with Container(*slow_image) as server, Client(server.grpc_url) as client, ThreadPoolExecutor() as pool:
        call = pool.submit(client.transcribe, noise(100))
        assert wait_until(lambda: is_busy(server), 10)
        psutil.Process(server.process.pid).terminate()
        with pytest.raises(ServerUnavailableError, match="stopping"):
            call.result(100)
        assert server.process.wait(60)
        assert server.process.describe_exit() == "exit code 0"


def test_who_is_in_the_last_step_when_triton_is_told_to_end_is_answered(slow_image: Image) -> None:
    search = Decoding(beam_width=50)  # of noise: some seconds
    with Container(*slow_image) as server, Client(server.grpc_url) as client, ThreadPoolExecutor() as pool:
        call = pool.submit(client.transcribe, noise(20), decoding=search)
        assert is_at_work(server.process.pid, "ctc_decoder")
        psutil.Process(server.process.pid).terminate()
        assert wait_until(lambda: not PROBE.says_ready(probed(server)), 10)
        assert not call.done()
        assert call.result(100).duration == 20
        assert server.process.wait(60)


def test_drain_waits_for_requests_that_are_under_way(slow_image: Image) -> None:
    with Container(*slow_image) as server, Client(server.grpc_url) as client, ThreadPoolExecutor() as pool:
        call = pool.submit(client.transcribe, noise(100))
        assert wait_until(lambda: is_busy(server), 10)
        assert not call.done()
        done = probe(server, "drain", "--notice=0", "--quiet=0.5", "--longest=60", "--in-flight-only")
        assert done.stdout.startswith("nothing is at work, 0 callers are connected")
        assert call.done()
        assert call.result().duration == 100


def probed(server: Container) -> Any:
    """The server, for the functions of the probe."""
    return PROBE.Server(server.ports.http, server.ports.grpc, server.ports.metrics, pid=server.process.pid)


def is_busy(server: Container) -> bool:
    """Whether `acoustic` has audio that is still to be run."""
    return bool(probed(server).counts(re.compile("shrota_pending_seconds")))


def test_no_request_is_lost_when_a_server_is_replaced(image: Image, monkeypatch: pytest.MonkeyPatch) -> None:
    """A roll-out as the chart does it: the name has the new server alone, then `drain` waits, then SIGTERM comes."""
    hosts = ("127.0.0.1", "127.0.0.2")
    ports = free_ports(*hosts)
    environment = {**image[1], "SHROTA_CONNECTION_AGE_S": "1"}
    audio = noise(2)
    expected = expected_text(audio)
    with (
        Container(image[0], environment, host=hosts[0], ports=ports) as old,
        Container(image[0], environment, host=hosts[1], ports=ports) as new,
        NameServer(list(hosts)) as names,
        ThreadPoolExecutor(4) as pool,
    ):
        # no name server of this machine is asked; gRPC looks a name up at most twice a minute, if nobody says otherwise
        target = f"dns://127.0.0.1:{names.port}/shrota.test:{ports.grpc}"
        monkeypatch.setattr(Address, "target", property(lambda _: target))
        options = channel_options(Timeouts())
        quick = [*options, ("grpc.dns_min_time_between_resolutions_ms", 100)]
        monkeypatch.setattr("shrota_client.transports.grpc_sync.channel_options", lambda _: quick)
        stop = threading.Event()

        def keep_asking() -> list[str]:
            with Client(f"shrota.test:{ports.grpc}") as client:
                return list(iter(lambda: "" if stop.is_set() else client.transcribe(audio).text, ""))

        callers = [pool.submit(keep_asking) for _ in range(4)]
        assert wait_until(lambda: all(served(one) >= 8 for one in (old, new)), 30), "requests went to one server only"

        names.addresses = [hosts[1]]
        monkeypatch.setattr(PROBE, "connections", lambda _port: connected(old))
        said = PROBE.drain(probed(old), [ports.grpc], notice_s=1, quiet_s=1, longest_s=30)
        assert said.startswith("nothing is at work, 0 callers are connected")
        before = served(new)
        psutil.Process(old.process.pid).terminate()
        assert old.process.wait(20)
        assert wait_until(lambda: served(new) >= before + 8, 30)
        stop.set()
        answers = [text for caller in callers for text in caller.result(30)]
    assert len(answers) >= 24
    assert set(answers) == {expected}


def served(server: Container, model: str = "asr") -> int:
    """How many requests a model of a server has answered."""
    return int(statistics(server.http_url, model)["inference_stats"]["success"]["count"])


def connected(server: Container) -> int:
    """How many callers are connected to a server's gRPC."""
    found = psutil.Process(server.process.pid).net_connections("tcp")
    return sum(one.status == "ESTABLISHED" and one.laddr == (server.host, server.ports.grpc) for one in found)


def test_the_probe_sees_who_is_connected(container: Container) -> None:
    assert PROBE.connections(container.ports.grpc) == 0
    with Client(container.grpc_url) as client:
        client.transcribe(noise(1))
        assert PROBE.connections(container.ports.grpc) == 1
    assert wait_until(lambda: PROBE.connections(container.ports.grpc) == 0, 5)
