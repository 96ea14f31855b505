"""Compose: what `docker compose config` makes of the files, and that what they name is there. Nothing was started."""

import json
import re
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from shrota_testing import scripts, tools
from shrota_testing.dockerfile import Dockerfile
from shrota_testing.repository import ROOT, copy_repository

DOCKER = ROOT / "docker"
FILE = DOCKER / "compose.yaml"
PROBE: Any = scripts.load(scripts.PROBE)
PREPARE: Any = scripts.load(scripts.PREPARE)
ALL = "gpu,cpu,tls,tracing,loadtest,client"
SERVERS = ("server-cpu", "server-gpu")
GIB = 2**30
Service = dict[str, Any]


def settings() -> dict[str, str]:
    """What docker/.env sets."""
    lines = (DOCKER / ".env").read_text(encoding="utf-8").splitlines()
    return {name: value.strip('"') for name, value in (line.split("=", 1) for line in lines if line and line[0] != "#")}


def source() -> dict[str, Service]:
    """The services as they are written."""
    found: dict[str, Service] = yaml.safe_load(FILE.read_text(encoding="utf-8"))["services"]
    return found


def config(profiles: str, **shell: str) -> dict[str, Any]:
    """The whole configuration as Compose understands it."""
    compose = tools.program("docker-compose")
    command = [compose, "--file", str(FILE), "config", "--format", "json", "--no-path-resolution"]
    environment = {"PATH": "/usr/bin:/bin", "COMPOSE_PROFILES": profiles, **shell}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    found: dict[str, Any] = json.loads(done.stdout)
    return found


@pytest.fixture(scope="module")
def services() -> dict[str, Service]:
    """All services, with every profile."""
    found: dict[str, Service] = config(ALL)["services"]
    return found


@pytest.mark.parametrize(
    ("profiles", "names"),
    [
        ("cpu", {"export-cpu", "server-cpu", "prometheus", "grafana"}),
        ("gpu", {"export-gpu", "server-gpu", "prometheus", "grafana"}),
        ("cpu,tls", {"export-cpu", "server-cpu", "prometheus", "grafana", "nginx"}),
        ("cpu,tracing,loadtest", {"export-cpu", "server-cpu", "prometheus", "grafana", "otel", "loadtest"}),
    ],
)
def test_profiles_choose_what_runs(profiles: str, names: set[str]) -> None:
    assert config(profiles)["services"].keys() == names


def test_without_a_word_it_is_the_processor() -> None:
    assert settings()["COMPOSE_PROFILES"] == "cpu"


def test_every_setting_is_used_and_every_one_that_is_used_is_set() -> None:
    used = set(re.findall(r"\$\{(\w+)", FILE.read_text(encoding="utf-8")))
    assert used - {"PIP_EXTRA_INDEX_URL"} == settings().keys() - {"COMPOSE_PROFILES"}


def test_what_comes_from_the_shell_alone_is_said_in_env() -> None:
    passed_on = {
        name for each in source().values() for name, value in (each.get("environment") or {}).items() if not value
    }
    assert "HF_TOKEN" in passed_on
    (said,) = re.findall(
        r"Taken from the shell alone:(.*?)\n[^#]", (DOCKER / ".env").read_text(encoding="utf-8"), re.DOTALL
    )
    assert set(re.findall(r"[A-Z]{2,}_[A-Z_]+", said)) == {*passed_on, "PIP_EXTRA_INDEX_URL"}


def test_every_setting_has_a_comment() -> None:
    lines = (DOCKER / ".env").read_text(encoding="utf-8").splitlines()
    for number, line in enumerate(lines):
        if line and not line.startswith("#"):
            above = number - 1
            while re.match(r"\w+=", lines[above]):
                above -= 1
            assert re.match(r"# \S", lines[above]), line


def test_what_is_mounted_is_there() -> None:
    found = settings()
    bound = 0
    for service in source().values():
        for volume in service.get("volumes", []):
            if not isinstance(volume, str):
                assert volume["type"] == "volume"
                continue
            written = re.sub(r"\$\{(\w+)\}", lambda match: found[match[1]], volume)
            place = written.split(":")[0]
            if place.startswith("."):
                bound += 1
                assert (DOCKER / place).exists(), volume
    assert bound >= 8


@pytest.mark.parametrize("name", [*SERVERS, "nginx"])
def test_each_container_sees_its_own_keys_alone(services: dict[str, Service], name: str) -> None:
    mounted = [volume["source"] for volume in services[name]["volumes"] if "certs" in volume["source"]]
    assert mounted == [f"./certs/{name.removesuffix('-cpu').removesuffix('-gpu')}"]


def test_what_the_readme_asks_of_docker_is_what_the_file_needs() -> None:
    asked = re.search(
        r"Docker Engine (\d+) and Compose ([\d.]+), or later \(([^)]*)\)", (DOCKER / "README.md").read_text()
    )
    assert asked is not None
    features = re.findall(r"`(\w+)`", asked[3])
    text = FILE.read_text(encoding="utf-8")
    assert features == ["start_interval", "pre_stop"]
    assert all(f"{feature}:" in text for feature in features)
    assert f"Docker Engine {asked[1]} (start_interval) and Compose {asked[2]} (pre_stop)" in text


def test_services_are_locked_down(services: dict[str, Service]) -> None:
    assert len(services) == 10
    for name, service in services.items():
        assert service["read_only"] is True, name
        assert service["cap_drop"] == ["ALL"], name
        assert service["security_opt"] == ["no-new-privileges:true"], name
        assert not service.get("privileged"), name


def test_nothing_is_open_to_the_network_by_itself(services: dict[str, Service]) -> None:
    published = [port for service in services.values() for port in service.get("ports", [])]
    assert len(published) == 7
    assert {port["host_ip"] for port in published} == {"127.0.0.1"}
    assert 8002 not in {port["target"] for port in published}


def test_https_is_opened_without_opening_anything_else() -> None:
    def opened(**shell: str) -> set[int]:
        services = config(ALL, **shell)["services"].values()
        return {
            port["target"]
            for service in services
            for port in service.get("ports", [])
            if port["host_ip"] == "0.0.0.0"  # noqa: S104 - what is looked for
        }

    assert opened(SHROTA_HTTPS_BIND="0.0.0.0") == {8443}  # noqa: S104
    assert opened(SHROTA_GRPC_BIND="0.0.0.0") == {8001}  # noqa: S104


def test_bodies_that_nginx_keeps_have_a_limit(services: dict[str, Service]) -> None:
    assert services["nginx"]["tmpfs"] == ["/tmp:size=4g"]  # noqa: S108 - in the container


def test_grafana_has_no_administrator_with_a_known_password(services: dict[str, Service]) -> None:
    environment = services["grafana"]["environment"]
    assert environment["GF_AUTH_BASIC_ENABLED"] == "false"
    assert environment["GF_SECURITY_DISABLE_INITIAL_ADMIN_CREATION"] == "true"


@pytest.mark.parametrize("kind", ["cpu", "gpu"])
def test_load_comes_when_the_server_transcribes(kind: str) -> None:
    services = config(f"{kind},loadtest")["services"]
    waits = services["loadtest"]["depends_on"]
    assert {name: (how["condition"], how["required"]) for name, how in waits.items()} == {
        name: ("service_healthy", False) for name in SERVERS if name in services or name in waits
    }
    assert f"server-{kind}" in waits


def test_images_of_others_are_pinned(services: dict[str, Service]) -> None:
    for service in services.values():
        if "build" not in service:
            assert re.search(r":v?\d+\.\d+\.\d+", service["image"]), service["image"]


@pytest.mark.parametrize("name", SERVERS)
def test_the_server_waits_for_its_model_and_cannot_change_it(services: dict[str, Service], name: str) -> None:
    export = name.replace("server", "export")
    waits = services[name]["depends_on"][export]
    assert waits["condition"] == "service_completed_successfully"
    # Compose makes the export anew where a setting of it has changed; the server has not, and would serve the old model
    assert waits["restart"] is True
    assert "SHROTA_SETTINGS" in services[export]["environment"].keys() - services[name]["environment"].keys()
    mounts = {volume["target"]: volume for volume in services[name]["volumes"]}
    assert mounts["/models"]["source"] == "models"
    assert mounts["/models"]["read_only"] is True
    # an empty volume is filled from whichever container is made first: that must not be the server's, whose is root's
    assert mounts["/models"]["volume"] == {"nocopy": True}
    written = {volume["target"]: volume for volume in services[export]["volumes"]}
    assert written["/models"]["source"] == "models"
    assert "read_only" not in written["/models"]
    assert not written["/models"].get("volume", {}).get("nocopy"), "it gets the owner that the export image made"
    (install,) = [
        command for command in Dockerfile.read(DOCKER / "export/Dockerfile").final.values("RUN") if "install" in command
    ]
    assert "--owner=1000 --group=1000 /models /cache" in install
    # Prometheus and nginx know it by one name, whichever it is
    assert services[name]["networks"]["default"]["aliases"] == ["server"]


@pytest.mark.parametrize("name", SERVERS)
def test_the_server_s_health_is_a_transcript(services: dict[str, Service], name: str) -> None:
    check = services[name]["healthcheck"]
    assert check["test"][:3] == ["CMD", "python3", "/opt/shrota/probe.py"]
    asked = PROBE.make_parser().parse_args(check["test"][3:])
    assert (asked.what, asked.end_server) == ("live", True)
    assert services[name]["restart"] == "unless-stopped"
    seconds = int(check["timeout"].removesuffix("m0s")) * 60
    assert seconds > asked.attempts * (asked.timeout + 1 + 2 * PROBE.LOOK_S + 1) + PROBE.LOOK_S


@pytest.mark.parametrize("name", SERVERS)
def test_what_is_under_way_is_let_finish_before_the_server_is_told_to_end(name: str) -> None:
    (hook,) = yaml.safe_load(FILE.read_text(encoding="utf-8"))["services"][name]["pre_stop"]
    assert hook["command"][:2] == ["python3", "/opt/shrota/probe.py"]
    asked = PROBE.make_parser().parse_args(hook["command"][2:])
    assert (asked.what, asked.in_flight_only, asked.notice) == ("drain", True, 0)


@pytest.mark.parametrize("name", SERVERS)
def test_docker_waits_longer_than_triton_for_requests_in_flight(services: dict[str, Service], name: str) -> None:
    minutes, seconds = re.fullmatch(r"(\d+)m(\d+)s", services[name]["stop_grace_period"]).groups()  # type: ignore[union-attr]
    assert 60 * int(minutes) + int(seconds) > int(settings()["SHROTA_EXIT_TIMEOUT_S"])


def test_programs_get_only_settings_that_they_read(services: dict[str, Service]) -> None:
    for name in SERVERS:
        own = {key for key in services[name]["environment"] if key.startswith("SHROTA_")}
        # where it listens is the container's own business, and SHROTA_ENGINE is what serve.py hands on
        assert own == scripts.settings_of(scripts.SERVE) - {"SHROTA_HTTP_HOST", "SHROTA_GRPC_HOST", "SHROTA_ENGINE"}
        made = {key for key in services[name.replace("server", "export")]["environment"] if key.startswith("SHROTA_")}
        assert made <= scripts.settings_of(scripts.PREPARE)


def test_gpus_are_asked_for_where_they_are_needed(services: dict[str, Service]) -> None:
    asked = {}
    for name, service in services.items():
        resources = service.get("deploy", {}).get("resources", {})
        asked[name] = [device["capabilities"] for device in resources.get("reservations", {}).get("devices", [])]
    assert {name: found for name, found in asked.items() if found} == {"export-gpu": [["gpu"]], "server-gpu": [["gpu"]]}


def test_settings_of_the_models_are_ones_that_they_have(tmp_path: Path) -> None:
    repository = copy_repository(tmp_path / "models")
    overrides = settings()["SHROTA_SETTINGS"].split()
    assert len(overrides) == 2
    for override in overrides:
        PREPARE.change(repository, override)


def test_shared_memory_holds_the_audio_that_the_settings_allow(services: dict[str, Service]) -> None:
    found = dict(each.split("=") for each in settings()["SHROTA_SETTINGS"].split())
    queued = int(found["acoustic.max_queue_size"])
    needed = float(found["acoustic.max_audio_seconds"]) * 64_000 * (16 + min(queued, 64))
    for name in SERVERS:
        assert int(services[name]["shm_size"]) >= needed
        assert int(services[name]["shm_size"]) == 4 * GIB


def test_both_images_are_built_of_one_release(services: dict[str, Service]) -> None:
    for name in ("server-cpu", "server-gpu", "export-cpu", "export-gpu"):
        arguments = services[name]["build"]["args"]
        assert arguments["TRITON_RELEASE"] == settings()["TRITON_RELEASE"]
        assert arguments["TENSORRT_VERSION"] == settings()["TENSORRT_VERSION"]
        assert (DOCKER.parent / services[name]["build"]["dockerfile"]).is_file()
