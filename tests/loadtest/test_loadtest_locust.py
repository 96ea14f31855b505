"""Locust itself, against a real Triton server with the tiny engine: counts, transcripts, workers, and no blocking."""

import json
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psutil
import pytest

from shrota_server import TritonServer
from shrota_testing.fake_triton import FakeTriton, Seen, serve
from shrota_testing.repository import ROOT
from shrota_testing.triton import wait_until

pytestmark = pytest.mark.triton

SHROTA = [sys.executable, "-c", "from shrota_client.cli import main; main()"]
LOCUST = [sys.executable, "-m", "locust", "-f", str(ROOT / "loadtest" / "locustfile.py")]


def run(command: list[str], environment: dict[str, str], *, cwd: Path) -> "subprocess.CompletedProcess[str]":
    """A command, to its end."""
    return subprocess.run(command, env=environment, cwd=cwd, capture_output=True, text=True, timeout=120, check=False)


def report(folder: Path) -> dict[str, Any]:
    """The JSON of a page."""
    found: dict[str, Any] = json.loads((folder / "report.json").read_text(encoding="utf-8"))
    return found


def free_port() -> int:
    """One that nobody listens at."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port: int = listener.getsockname()[1]
    return port


@pytest.mark.parametrize("processes", ["1", "2"])
def test_steps_have_their_counts_and_transcripts(
    server: TritonServer, speech: Path, environment: dict[str, str], tmp_path: Path, processes: str
) -> None:
    command = [*SHROTA, "loadtest", "steps", "--server", server.grpc_url, "--metrics", server.metrics_url]
    command += ["--speech", str(speech), "--lengths", "whole", "--loads", "10,30", "--settle", "1", "--measure", "2"]
    ended = run([*command, "--processes", processes, "--output", "page"], environment, cwd=tmp_path)
    assert ended.returncode == 0, ended.stderr
    content = report(tmp_path / "page")
    assert [step["load"] for step in content["steps"]] == [10.0, 30.0]
    for step in content["steps"]:
        expected = step["load"] * step["measured_s"]
        assert abs(step["requests"] - expected) < 4 * expected**0.5  # of a Poisson process
        assert step["answered"] == step["requests"]
        assert step["errors"] == {}
        # every answer is the text that the engine must give, which is the manifest's
        assert step["transcripts"]["compared"] == step["requests"] + step["unmeasured"]
        assert step["transcripts"]["different"] == 0
        assert step["transcripts"]["word_error_rate_loaded"] == 0
        assert sum(each["requests"] for each in step["buckets"]) == step["requests"]
        assert {each["bucket"] for each in step["buckets"]} == {"0-2 s", "2-5 s", "5-10 s"}
        assert 0 < step["latency_s"]["p50"] < 5
        assert step["senders"] == int(processes)
        assert step["generator_cores"] > 0
        # what arrived before the measured time may be answered in it
        assert abs(step["triton"]["models"]["acoustic"]["requests"] - step["requests"]) < 0.5 * step["requests"]
        assert step["triton"]["batching"]["rows"] >= 1
    assert "every transcript is the one of the same audio alone" in ended.stdout
    assert (tmp_path / "page" / "index.html").is_file()


def test_an_overload_is_over_when_it_is_over_however_many_users_made_it(
    server: TritonServer, speech: Path, environment: dict[str, str], tmp_path: Path
) -> None:
    command = [*SHROTA, "loadtest", "overload", "--server", server.grpc_url, "--pid", str(server.pid)]
    command += ["--speech", str(speech), "--lengths", "whole", "--rate", "20", "--times", "3", "--seconds", "3"]
    # 1200 users, which Locust would take 12 s to stop if it stopped a hundred a second
    ended = run([*command, "--rate-per-user", "0.05", "--output", "page"], environment, cwd=tmp_path)
    content = report(tmp_path / "page")
    backlog, before, overload, after = content["steps"]
    assert [step["load"] for step in content["steps"]] == [60.0, 4.0, 60.0, 4.0]
    assert 10 <= after["began"] - overload["ended"] < 12
    for step in (backlog, before, overload, after):
        assert step["answered"] == step["requests"] > 0  # the tiny engine carries them all
        assert step["transcripts"]["different"] == 0
    held = {each["what"]: each["holds"] for each in content["checks"]}
    assert held["soon afterwards every request is answered, as fast as the bound"] is True
    assert held["no process of the server ends"] is True
    assert "the overload lies between the dotted lines" in (tmp_path / "page" / "report.md").read_text(encoding="utf-8")
    assert "Overload: at 60 requests/s" in ended.stdout


def test_a_search_over_http_finds_streams(
    server: TritonServer, speech: Path, environment: dict[str, str], tmp_path: Path
) -> None:
    command = [*SHROTA, "loadtest", "search", "--server", f"http://{server.http_url}", "--speech", str(speech)]
    command += ["--lengths", "whole", "--kind", "streams", "--start", "2", "--settle", "0.5", "--measure", "1"]
    # 1 ms: no server is so quick, so the search must end with nothing
    ended = run([*command, "--bound", "0.001", "--output", "page"], environment, cwd=tmp_path)
    content = report(tmp_path / "page")
    assert content["best"] is None
    assert [step["load"] for step in content["steps"]] == [2, 1]
    assert all(step["ended_early"] or step["measured_s"] >= 1 for step in content["steps"])
    assert "No load that was tried was carried" in ended.stdout
    assert ended.returncode == 1


@pytest.mark.parametrize("name", ["ClosedGrpc", "ClosedHttp"])
def test_locust_leads_by_its_own_options(
    server: TritonServer, speech: Path, environment: dict[str, str], tmp_path: Path, name: str
) -> None:
    command = [*LOCUST, "--headless", "--only-summary", "-u", "2", "-r", "2", "-t", "4s", name]
    command += ["--grpc", server.grpc_url, "--http", server.http_url, "--speech", str(speech), "--lengths", "whole"]
    ended = run([*command, "--output", "page"], environment, cwd=tmp_path)
    assert ended.returncode == 0, ended.stderr
    content = report(tmp_path / "page")
    (step,) = content["steps"]
    assert (content["kind"], step["load"]) == ("closed", 2)
    assert step["answered"] == step["requests"] > 10
    assert step["transcripts"]["different"] == 0
    # Locust counts them, too, by the length of the utterance
    assert ("grpc" if name.endswith("Grpc") else "http") in ended.stderr
    assert "5-10 s" in ended.stderr


def test_a_master_and_a_worker_of_their_own_measure_together(
    server: TritonServer, speech: Path, environment: dict[str, str], tmp_path: Path
) -> None:
    port = free_port()
    settings = ["--grpc", server.grpc_url, "--speech", str(speech), "--lengths", "whole"]
    worker = [*LOCUST, "--worker", "--master-port", str(port)]  # what is to be sent the master tells
    master = [*LOCUST, "--master", "--master-bind-port", str(port), "--expect-workers", "1", "--headless"]
    master += ["--only-summary", "-u", "20", "-r", "20", "-t", "4s", "--rate-per-user", "0.5", "OpenGrpc"]
    with subprocess.Popen(worker, env=environment, cwd=tmp_path, stderr=subprocess.DEVNULL) as other:
        try:
            ended = run([*master, *settings, "--output", "page"], environment, cwd=tmp_path)
            assert other.wait(20) == 0
        finally:
            other.kill()
    assert ended.returncode == 0, ended.stderr
    (step,) = report(tmp_path / "page")["steps"]
    assert step["answered"] == step["requests"] > 20  # 10 a second for 4 s
    assert step["senders"] == 1  # the worker: a master sends nothing
    assert step["transcripts"]["different"] == 0


def test_the_web_page_of_locust_starts_and_stops_a_test(
    server: TritonServer, speech: Path, environment: dict[str, str], tmp_path: Path
) -> None:
    port = free_port()
    command = [*LOCUST, "--web-host", "127.0.0.1", "--web-port", str(port), "--grpc", server.grpc_url]
    command += ["--speech", str(speech), "--lengths", "whole", "--output", "page"]
    url = f"http://127.0.0.1:{port}"
    with started(command, environment, tmp_path):

        def answers() -> bool:
            try:
                with urllib.request.urlopen(url, timeout=5) as answer:
                    return b"rate_per_user" in answer.read()  # our options are on it
            except OSError:
                return False

        assert wait_until(answers, 30)
        body = b"user_count=100&spawn_rate=100&rate_per_user=0.2"
        with urllib.request.urlopen(f"{url}/swarm", data=body, timeout=30) as answer:  # noqa: S310
            assert json.loads(answer.read())["success"]
        time.sleep(3)
        urllib.request.urlopen(f"{url}/stop", data=b"", timeout=30).close()  # noqa: S310
        assert wait_until((tmp_path / "page" / "lengths.csv").is_file, 30)
    (step,) = report(tmp_path / "page")["steps"]
    assert step["answered"] == step["requests"] > 10  # 100 users of 0.2 a second, for some 3 s


@contextmanager
def started(command: list[str], environment: dict[str, str], cwd: Path) -> Iterator["subprocess.Popen[bytes]"]:
    """A command that runs within the ``with`` statement."""
    with subprocess.Popen(command, env=environment, cwd=cwd, stderr=subprocess.DEVNULL) as process:
        try:
            yield process
        finally:
            process.send_signal(signal.SIGTERM)
            process.wait(30)


@pytest.mark.parametrize("scheme", ["grpc", "http"])
def test_a_slow_request_does_not_block_the_others(
    speech: Path, environment: dict[str, str], tmp_path: Path, scheme: str
) -> None:
    """The longest of four utterances takes 2 s in this server, the others nothing: some 14 slow ones at any time.

    gevent's pool of threads, in which gRPC waits, has 10 unless it is told otherwise.
    """
    slow_s = 2.0

    def answer(seen: Seen) -> str:
        if seen.samples.size > 80000:
            time.sleep(slow_s)
        return "मेरा नाम राम है"

    with serve(scheme, FakeTriton(answer)) as url:
        command = [*SHROTA, "loadtest", "steps", "--server", url, "--speech", str(speech), "--lengths", "whole"]
        command += ["--loads", "28", "--settle", "0", "--measure", "4", "--output", "page"]
        ended = run(command, environment, cwd=tmp_path)
    assert ended.returncode == 0, ended.stderr
    (step,) = report(tmp_path / "page")["steps"]
    buckets = {each["bucket"]: each["latency_s"] for each in step["buckets"]}
    assert buckets["5-10 s"]["p50"] >= slow_s
    for name in ("0-2 s", "2-5 s"):
        assert buckets[name]["max"] < slow_s / 2
    assert step["lag_s"]["max"] < slow_s / 2


def test_a_soak_serves_a_repository_and_watches_its_processes(
    tiny_repository: Path, speech: Path, environment: dict[str, str], tmp_path: Path
) -> None:
    command = [*SHROTA, "loadtest", "soak", "--repository", str(tiny_repository), "--speech", str(speech)]
    command += ["--lengths", "whole", "--rate", "20", "--share", "0.5", "--warm-up", "2", "--minutes", "0.08"]
    ended = run([*command, "--output", "page"], environment, cwd=tmp_path)
    content = report(tmp_path / "page")
    backlog, step = content["steps"]
    assert (backlog["name"], backlog["load"], backlog["transcripts"]["different"]) == ("backlog", 60, 0)
    assert (step["load"], step["failed"], step["transcripts"]["different"]) == (10, 0, 0)
    # memory is that of the soak: its series begins before it
    assert content["memory"]["step"] == 2
    assert content["memory"]["series"]["seconds"][0] < -1
    names = {each["process"].split()[0] for each in content["memory"]["processes"]}
    assert {"tritonserver", "acoustic_0_0", "acoustic_onnx_0_0", "ctc_decoder_0_0"} <= names
    assert all(each["start_bytes"] > 2**20 for each in content["memory"]["processes"])
    assert [check["holds"] for check in content["checks"]][:2] == [True, True]
    # so short after its start a process may still grow
    assert ended.returncode == (0 if content["checks"][2]["holds"] else 1)
    assert 0 <= content["others"] <= 1
    assert "shares this machine's" in content["server"]


STOPPED = """
from types import SimpleNamespace
from shrota_loadtest.locustfile import finish

def fails():
    raise raised

for raised in (KeyError("steps"), OSError("full")):
    session = SimpleNamespace(finish=fails, leader="one", settings=SimpleNamespace(output="page"))
    try:
        finish(SimpleNamespace(shrota=session))
    except KeyError:
        print("raised")
    assert session.leader is None
session.finish, session.leader = lambda: {"steps": []}, "one"
environment = SimpleNamespace(shrota=session)
finish(environment)
assert (session.leader, environment.process_exit_code) == (None, 1)
"""


def test_a_test_that_cannot_be_finished_does_not_keep_the_next_from_beginning(
    environment: dict[str, str], tmp_path: Path
) -> None:
    ended = run([sys.executable, "-c", STOPPED], environment, cwd=tmp_path)
    assert ended.returncode == 0, ended.stderr
    assert "no step came to its end" in ended.stderr
    assert ended.stdout == "raised\n"


def test_a_worker_that_is_killed_spoils_only_its_own_step(
    server: TritonServer, speech: Path, environment: dict[str, str], tmp_path: Path
) -> None:
    stages = json.dumps([{"load": 20, "settle_s": 0, "measure_s": 6}, {"load": 20, "settle_s": 1, "measure_s": 3}])
    command = [*LOCUST, "--headless", "--only-summary", "--skip-log-setup", "--processes", "2", "--shape", "stages"]
    command += ["--stages", stages, "--grpc", server.grpc_url, "--speech", str(speech), "--lengths", "whole"]
    port = str(free_port())
    command += ["--master-port", port, "--master-bind-port", port, "--output", "page", "--request-timeout", "20"]
    with subprocess.Popen(command, env=environment, cwd=tmp_path, stderr=subprocess.PIPE, text=True) as process:
        assert process.stderr is not None
        assert any("alone: 4 utterances" in line for line in process.stderr)
        time.sleep(3)
        psutil.Process(process.pid).children()[0].kill()
        process.stderr.read()
    first, second = report(tmp_path / "page")["steps"]
    assert (first["lost_senders"], first["good"], second["lost_senders"], second["senders"]) == (1, False, 0, 1)
    assert second["answered"] == second["requests"] > 20
    assert first["drained_s"] < 15  # it is not waited for


LED = """
from types import SimpleNamespace
from locust.runners import MasterRunner
from shrota_loadtest.session import Session

session, kept = Session.__new__(Session), []
session._test, session._report = "", lambda: None
session._take_phase(SimpleNamespace(data={"test": "t", "step": 2, "phase": "measure", "bound": 0.25}))
assert (session.recorder._bound_s, session.recorder.step) == (0.25, 2)
runner = MasterRunner.__new__(MasterRunner)
runner.clients = {"a": SimpleNamespace(state="missing"), "b": SimpleNamespace(state="running")}
session.environment = SimpleNamespace(runner=runner)
session.leader = SimpleNamespace(collector=SimpleNamespace(keep_only=kept.append))
session.drop_missing()
assert kept == [["b"]]
"""


def test_a_worker_takes_the_bound_of_the_one_that_leads_who_drops_missing_workers(
    environment: dict[str, str], tmp_path: Path
) -> None:
    ended = run([sys.executable, "-c", LED], environment, cwd=tmp_path)
    assert ended.returncode == 0, ended.stderr


BAD: dict[str, tuple[list[str], str]] = {
    "no server": (["--server", "127.0.0.1:9"], "no server at 127.0.0.1:9"),
    "none named": ([], "name one with --server, or start one with --repository"),
    "no speech": (["--server", "SERVER", "--speech", "none.jsonl"], "cannot read none.jsonl"),
    "no lengths": (["--server", "SERVER", "--lengths", "novel"], "neither news, audiobook, meeting, whole nor"),
    "a bad number": (["--server", "SERVER", "--bound", "-1"], "--bound must be a number over 0"),
    "a negative seed": (["--server", "SERVER", "--seed", "-1"], "--seed must be 0 or more"),
    "endless load": (["--server", "SERVER", "--loads", "inf"], "must be positive, and finite"),
    "bad loads": (["--server", "SERVER", "--loads", "a,b"], "--loads 1,2,4"),
    "no place for the page": (["--server", "SERVER", "--output", "/proc/page"], "cannot write /proc/page"),
    "no repository": (["--repository", "nowhere"], "no model repository at nowhere"),
    "a server without asr": (["--server", "SERVER", "--engine", "acoustic_abacus"], "acoustic_abacus"),
    "no metrics": (["--server", "SERVER", "--metrics", "127.0.0.1:9"], "no metrics at 127.0.0.1:9"),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_input_is_one_line(
    server: TritonServer, speech: Path, environment: dict[str, str], tmp_path: Path, case: str
) -> None:
    arguments, message = BAD[case]
    given = [server.grpc_url if word == "SERVER" else word for word in arguments]
    if "--loads" not in given:
        given += ["--loads", "1"]
    if "--speech" not in given:
        given += ["--speech", str(speech)]
    ended = run([*SHROTA, "loadtest", "steps", *given], environment, cwd=tmp_path)
    assert ended.returncode == 1
    lines = [line for line in ended.stderr.splitlines() if not line.startswith("loading ")]
    assert message in lines[0]
    assert "Traceback" not in ended.stderr
    assert not (tmp_path / "build" / "loadtest" / "report.json").exists()
