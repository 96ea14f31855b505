"""The Helm chart: rendered with many values, checked against Kubernetes' schemas, and against what it relies on.

No cluster has run it.
"""

import json
import re
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from shrota_testing import scripts, tools
from shrota_testing.chart import (
    CHART,
    Document,
    containers,
    environment,
    find,
    helm,
    leaves,
    pod,
    render,
    schema,
    values_of,
)
from shrota_testing.monitoring import DASHBOARD, RULES, dashboard
from shrota_testing.repository import ROOT

PROBE: Any = scripts.load(scripts.PROBE)
GIB = 2**30
GPU = values_of(CHART / "values-gpu.yaml")
PROXY = {"tls": {"proxy": True, "proxySecret": "certificate", "proxyMutual": True}}
CASES: dict[str, Document] = {
    "processors": {},
    "gpus": GPU,
    "proxy": PROXY,
    "mutual tls": {"tls": {"grpcSecret": "certificate", "grpcMutual": True}, "adminKeySecret": "admin"},
    "object store": {
        "model": {"from": "url", "url": "s3://bucket/models", "credentialsSecret": "store", "settings": ""},
        "sharedMemory": "4Gi",
    },
    "claim": {"model": {"from": "claim", "claim": "models", "settings": ""}, "sharedMemory": "4Gi"},
    "image": {"model": {"from": "image", "settings": ""}, "sharedMemory": "40Gi"},
    "plans from a cache": GPU | {"model": GPU["model"] | {"cacheClaim": "plans", "sourceClaim": "exported"}},
    "watched": {
        "autoscaling": {"enabled": True},
        "metrics": {
            "podMonitor": True,
            "podMonitorLabels": {"release": "prometheus"},
            "prometheusRule": True,
            "prometheusRuleLabels": {"release": "prometheus"},
            "dashboard": True,
            "dashboardAnnotations": {"grafana_folder": "Speech"},
        },
        "tracing": {"url": "http://collector:4318/v1/traces"},
        "networkPolicy": {
            "dns": {"to": []},
            "egress": [{"to": [{"ipBlock": {"cidr": "0.0.0.0/0"}}], "ports": [{"port": 443}]}],
        },
        "extraArguments": ["--log-verbose=1"],
        "extraEnvironment": [{"name": "A", "value": "b"}],
    },
    "open": {
        "networkPolicy": {"enabled": False},
        "podDisruptionBudget": {"enabled": False},
        "service": {"type": "LoadBalancer", "headless": False},
        "metrics": {"annotations": False},
        "podAnnotations": {"a": "b"},
        "serviceAccount": {"annotations": {"role": "reader"}},
        "imagePullSecrets": [{"name": "registry"}],
        "nodeSelector": {"gpu": "l4"},
        "priorityClassName": "high",
        "runtimeClassName": "nvidia",
        "affinity": {"nodeAffinity": {}},
    },
}


@pytest.fixture(params=list(CASES.values()), ids=list(CASES))
def documents(request: pytest.FixtureRequest) -> list[Document]:
    """What the chart makes of each set of values."""
    return render(request.param)


def test_helm_s_own_lint_finds_nothing() -> None:
    report = helm().lint(CHART, strict=True)
    assert report["errors"] == []
    assert [each["error"] for each in report["messages"]] == ["icon is recommended"]


@pytest.mark.parametrize("version", ["1.29", "1.37"])
def test_kubernetes_takes_it(documents: list[Document], version: str) -> None:
    validate = tools.package("kubernetes_validate").validate
    for document in documents:
        if document["kind"] not in {"PodMonitor", "PrometheusRule"}:  # the Prometheus operator's
            validate(document, version, strict=True)


def test_kubernetes_schemas_find_mistakes() -> None:
    library = tools.package("kubernetes_validate")
    deployment = find(render(), "Deployment")
    deployment["spec"]["template"]["spec"]["containers"][0]["livenessprobe"] = {}
    with pytest.raises(library.ValidationError, match="livenessprobe"):
        library.validate(deployment, "1.37", strict=True)


def test_no_container_is_root_or_writes_into_its_image(documents: list[Document]) -> None:
    security = pod(documents)["spec"]["securityContext"]
    assert security["runAsNonRoot"] is True
    assert security["runAsUser"] == 1000
    assert security["seccompProfile"] == {"type": "RuntimeDefault"}
    for container in containers(documents).values():
        own = container["securityContext"]
        assert own["allowPrivilegeEscalation"] is False
        assert own["readOnlyRootFilesystem"] is True
        assert own["capabilities"] == {"drop": ["ALL"]}
        assert own.get("runAsUser", 1000) != 0
        assert "/tmp" in {mount["mountPath"] for mount in container["volumeMounts"]}  # noqa: S108 - in the container
        assert "memory" in container["resources"]["limits"]
    assert pod(documents)["spec"]["automountServiceAccountToken"] is False


def test_the_repository_is_read_only_for_the_server(documents: list[Document]) -> None:
    mounts = {mount["mountPath"]: mount for mount in containers(documents)["server"]["volumeMounts"]}
    for path in mounts.keys() - {"/tmp", "/dev/shm"}:  # noqa: S108 - in the container
        assert mounts[path]["readOnly"] is True


def test_every_volume_is_mounted_and_every_mount_has_its_volume(documents: list[Document]) -> None:
    volumes = [volume["name"] for volume in pod(documents)["spec"]["volumes"]]
    mounted = {mount["name"] for each in containers(documents).values() for mount in each["volumeMounts"]}
    assert len(set(volumes)) == len(volumes)
    assert mounted == set(volumes)


def test_the_server_gets_only_settings_that_it_reads(documents: list[Document]) -> None:
    found = containers(documents)
    own = {name for name in environment(found["server"]) if name.startswith("SHROTA_")}
    assert own
    assert own <= scripts.settings_of(scripts.SERVE)
    if "prepare" in found:
        assert set(environment(found["prepare"])) <= scripts.settings_of(scripts.PREPARE)


def test_probes_are_commands_that_the_image_has(documents: list[Document]) -> None:
    server = containers(documents)["server"]
    commands = {name: server[name]["exec"]["command"] for name in ("startupProbe", "readinessProbe", "livenessProbe")}
    commands["preStop"] = server["lifecycle"]["preStop"]["exec"]["command"]
    asked = {}
    for name, command in commands.items():
        assert command[:2] == ["python3", "/opt/shrota/probe.py"]
        asked[name] = PROBE.make_parser().parse_args(command[2:])
    assert {name: each.what for name, each in asked.items()} == {
        "startupProbe": "ready",
        "readinessProbe": "ready",
        "livenessProbe": "live",
        "preStop": "drain",
    }
    for name in ("startupProbe", "readinessProbe", "livenessProbe"):
        # health, metrics, the transcript, metrics again: the kubelet must not end it before it has an answer
        assert server[name]["timeoutSeconds"] > asked[name].timeout + 1 + 3 * PROBE.LOOK_S
    assert server["startupProbe"]["failureThreshold"] * server["startupProbe"]["periodSeconds"] >= 600


def test_a_server_is_not_killed_while_it_drains(documents: list[Document]) -> None:
    server = containers(documents)["server"]
    drain = PROBE.make_parser().parse_args(server["lifecycle"]["preStop"]["exec"]["command"][2:])
    settings = environment(server)
    grace_s = pod(documents)["spec"]["terminationGracePeriodSeconds"]
    assert grace_s > drain.longest + int(settings["SHROTA_EXIT_TIMEOUT_S"])
    # callers look again once a connection is so old; jitter makes it a tenth longer
    assert drain.longest > drain.notice + 1.1 * int(settings["SHROTA_CONNECTION_AGE_S"])
    assert server["livenessProbe"]["terminationGracePeriodSeconds"] < 60


def test_who_is_selected_is_there(documents: list[Document]) -> None:
    labels = pod(documents)["metadata"]["labels"].items()
    deployment = find(documents, "Deployment")["spec"]
    selectors = [deployment["selector"]["matchLabels"]]
    for document in documents:
        spec = document.get("spec", {})
        if document["kind"] == "Service":
            selectors.append(spec["selector"])
        if document["kind"] in {"PodDisruptionBudget", "PodMonitor"}:
            selectors.append(spec["selector"]["matchLabels"])
        if document["kind"] == "NetworkPolicy":
            selectors.append(spec["podSelector"]["matchLabels"])
        if document["kind"] == "HorizontalPodAutoscaler":
            assert spec["scaleTargetRef"]["name"] == find(documents, "Deployment")["metadata"]["name"]
            assert "replicas" not in deployment
    for selector in selectors:
        assert selector.items() <= labels
    assert pod(documents)["spec"]["serviceAccountName"] == find(documents, "ServiceAccount")["metadata"]["name"]


@pytest.mark.parametrize("name", ["proxy", "mutual tls"])
def test_where_there_is_tls_plain_http_is_for_the_probes_alone(name: str) -> None:
    documents = render(CASES[name])
    assert environment(containers(documents)["server"])["SHROTA_HTTP_HOST"] == "127.0.0.1"
    for document in documents:
        if document["kind"] == "Service":
            assert not {"http", 8000} & {
                port[key] for port in document["spec"]["ports"] for key in ("port", "targetPort")
            }
        if document["kind"] == "NetworkPolicy":
            rules = document["spec"]["ingress"]
            assert not {"http", 8000} & {port["port"] for rule in rules for port in rule["ports"]}


def test_a_pod_that_still_prepares_its_model_is_not_watched() -> None:
    (endpoint,) = find(render(CASES["watched"]), "PodMonitor")["spec"]["podMetricsEndpoints"]
    phase = {"action": "keep", "sourceLabels": ["__meta_kubernetes_pod_phase"], "regex": "Running"}
    assert phase in endpoint["relabelings"]


def test_servers_are_added_before_short_time_outs_are_refused() -> None:
    """With a time-out of 10 s `acoustic` refuses from a backlog of about 4 s on: it never grows beyond."""
    assert 0 < float(values_of(CHART / "values.yaml")["autoscaling"]["backlogSeconds"]) <= 0.75 * 4


def test_ports_have_the_names_that_others_use(documents: list[Document]) -> None:
    # before Kubernetes 1.33 names of ports are looked for in plain containers only, and a sidecar is an init container
    plain = pod(documents)["spec"]["containers"]
    names = {port["name"]: port["containerPort"] for each in plain for port in each.get("ports", [])}
    numbers = {port["containerPort"] for each in containers(documents).values() for port in each.get("ports", [])}
    known = {*names, *numbers}
    assert {name: names[name] for name in ("http", "grpc", "metrics")} == {"http": 8000, "grpc": 8001, "metrics": 8002}
    for document in documents:
        if document["kind"] == "Service":
            targets = {port["targetPort"] for port in document["spec"]["ports"]}
            assert targets <= known
            assert not targets & {"metrics", 8002}
        if document["kind"] == "NetworkPolicy":
            rules = document["spec"]["ingress"]
            assert {port["port"] for rule in rules for port in rule["ports"]} <= known


def test_grpc_has_a_name_with_the_addresses_of_all_servers() -> None:
    service = find(render(), "Service", "demo-shrota-grpc")["spec"]
    assert service["clusterIP"] == "None"
    assert service["ports"] == [{"name": "grpc", "port": 8001, "targetPort": "grpc"}]
    assert "publishNotReadyAddresses" not in service


def test_by_default_only_named_pods_come_in_and_nothing_goes_out_but_names() -> None:
    spec = find(render(), "NetworkPolicy")["spec"]
    clients, monitoring = spec["ingress"]
    assert clients["from"] == [{"podSelector": {"matchLabels": {"shrota-client": "true"}}}]
    assert [port["port"] for port in clients["ports"]] == ["http", "grpc"]
    assert [port["port"] for port in monitoring["ports"]] == ["metrics"]
    (names,) = spec["egress"]
    assert {(port["protocol"], port["port"]) for port in names["ports"]} == {
        (protocol, port) for protocol in ("UDP", "TCP") for port in (53, 5353)
    }
    found = yaml.safe_dump(names["to"])
    for place in ("kube-system", "openshift-dns", "169.254.20.10/32"):
        assert place in found
    assert spec["policyTypes"] == ["Ingress", "Egress"]


def test_behind_the_proxy_triton_is_reached_from_inside_alone() -> None:
    documents = render(PROXY)
    found = containers(documents)
    assert list(found) == ["prepare", "proxy", "server"]
    assert found["proxy"]["restartPolicy"] == "Always", "a sidecar ends after the server"
    for protocol in ("HTTP", "GRPC"):
        assert environment(found["server"])[f"SHROTA_{protocol}_HOST"] == "127.0.0.1"
        assert environment(containers(render())["server"])[f"SHROTA_{protocol}_HOST"] == "0.0.0.0"  # noqa: S104
    drain = PROBE.make_parser().parse_args(found["server"]["lifecycle"]["preStop"]["exec"]["command"][2:])
    assert drain.callers == [8443]
    (ports,) = {
        tuple(port["port"] for port in rule["ports"])
        for rule in find(documents, "NetworkPolicy")["spec"]["ingress"][:1]
    }
    assert ports == (8443,)
    data = find(documents, "ConfigMap")["data"]
    for name in ("shrota.conf", "mutual.conf"):
        assert data[name].strip() == (ROOT / "docker/nginx" / name).read_text(encoding="utf-8").strip()
    # the configuration calls Triton by the name that it has in Compose
    assert "server server:8000;" in data["shrota.conf"]
    assert pod(documents)["spec"]["hostAliases"] == [{"ip": "127.0.0.1", "hostnames": ["server"]}]
    tls = {
        item["path"]
        for volume in pod(documents)["spec"]["volumes"]
        for item in volume.get("secret", {}).get("items", [])
    }
    for file in tls:
        assert f"/etc/nginx/tls/{file}" in data["shrota.conf"] + data["mutual.conf"]


def test_bodies_that_the_proxy_takes_fit_into_its_volume() -> None:
    documents = render(PROXY)
    text = find(documents, "ConfigMap")["data"]["shrota.conf"]
    requests, megabytes = (
        int(re.findall(pattern, text)[0])
        for pattern in (r"limit_conn shrota_everybody (\d+);", r"client_max_body_size (\d+)m;")
    )
    (volume,) = [each for each in pod(documents)["spec"]["volumes"] if each["name"] == "proxy-tmp"]
    assert float(volume["emptyDir"]["sizeLimit"].removesuffix("Gi")) * 1024 > requests * megabytes


def test_no_volume_of_a_pod_fills_the_disk_of_its_node(documents: list[Document]) -> None:
    for volume in pod(documents)["spec"]["volumes"]:
        if "emptyDir" in volume:
            assert volume["emptyDir"]["sizeLimit"], volume["name"]


def test_alerts_and_dashboard_come_where_they_are_wished_for() -> None:
    assert not {document["kind"] for document in render()} & {"PrometheusRule", "PodMonitor", "ConfigMap"}
    documents = render(CASES["watched"])
    rule = find(documents, "PrometheusRule")
    assert rule["metadata"]["labels"]["release"] == "prometheus"
    assert rule["spec"] == yaml.safe_load(RULES.read_text(encoding="utf-8"))
    shown = find(documents, "ConfigMap", "demo-shrota-dashboard")
    assert shown["metadata"]["labels"]["grafana_dashboard"] == "1"
    assert json.loads(shown["data"]["shrota.json"]) == dashboard()
    # Grafana's own data source, whatever its name is there
    assert "datasource" in {variable["type"] for variable in dashboard()["templating"]["list"]}
    # who is watched by the operator has the job that the rules look for
    monitor = find(documents, "PodMonitor")["spec"]
    job = pod(documents)["metadata"]["labels"][monitor["jobLabel"]]
    assert f'up{{job="{job}"}}' in RULES.read_text(encoding="utf-8")


@pytest.mark.parametrize("name", ["shrota.conf", "mutual.conf", "rules.yml", "dashboard.json"])
def test_files_of_the_chart_are_those_of_compose(name: str) -> None:
    originals = {"rules.yml": RULES, "dashboard.json": DASHBOARD}
    assert (CHART / "files" / name).samefile(originals.get(name, ROOT / "docker/nginx" / name))
    assert {path.name for path in (CHART / "files").iterdir()} == {"shrota.conf", "mutual.conf", *originals}


@tools.needs("promtool")
def test_prometheus_takes_the_rules_as_the_operator_hands_them_on(tmp_path: Path) -> None:
    file = tmp_path / "rules.yml"
    file.write_text(yaml.safe_dump(find(render(CASES["watched"]), "PrometheusRule")["spec"]), encoding="utf-8")
    subprocess.run(["promtool", "check", "rules", "--lint=all", "--lint-fatal", file], check=True, capture_output=True)


def test_plans_are_built_where_the_gpu_is() -> None:
    found = containers(render(GPU))
    for name in ("prepare", "server"):
        assert found[name]["resources"]["limits"]["nvidia.com/gpu"] == 1
    assert environment(found["prepare"])["SHROTA_ENGINES"] == "acoustic_trt,acoustic_onnx"
    assert environment(found["server"])["SHROTA_ENGINES"] == "acoustic_trt,acoustic_onnx"
    assert "nvidia.com/gpu" not in containers(render())["server"]["resources"]["limits"]


@pytest.mark.parametrize("values", [{}, GPU], ids=["processors", "gpus"])
def test_shared_memory_holds_the_audio_that_the_settings_allow(values: Document) -> None:
    documents = render(values)
    settings = dict(
        each.split("=") for each in environment(containers(documents)["prepare"])["SHROTA_SETTINGS"].split()
    )
    seconds, queued = float(settings["acoustic.max_audio_seconds"]), int(settings["acoustic.max_queue_size"])
    needed = seconds * 64_000 * (16 + min(queued, 64))
    (volume,) = [each for each in pod(documents)["spec"]["volumes"] if each["name"] == "shared-memory"]
    assert volume["emptyDir"]["medium"] == "Memory"
    assert float(volume["emptyDir"]["sizeLimit"].removesuffix("Gi")) * GIB >= needed
    limit = containers(documents)["server"]["resources"]["limits"]["memory"]
    assert float(limit.removesuffix("Gi")) * GIB >= seconds * 64_000 * (queued + 3 * (16 + min(queued, 64)))


def test_the_readme_s_installations_are_ones_that_the_chart_takes() -> None:
    text = (ROOT / "docker/README.md").read_text(encoding="utf-8").replace("\\\n", " ")
    given = [
        dict(each.split("=", 1) for one in re.findall(r"--set (\S+)", line) for each in one.split(","))
        for line in re.findall(r"helm (?:install|upgrade) shrota docker/helm/shrota\b(.*--set.*)", text)
    ]
    assert len(given) == 3
    for flat in given:
        values: Document = {}
        for path, value in flat.items():
            *parents, name = path.split(".")
            place = values
            for parent in parents:
                place = place.setdefault(parent, {})
            place[name] = True if value == "true" else value
        assert render(values)


def test_the_autoscaler_asks_for_what_prometheus_adapter_is_told_to_give() -> None:
    spec = find(render({"autoscaling": {"enabled": True}}), "HorizontalPodAutoscaler")["spec"]
    asked = {metric["pods"]["metric"]["name"] for metric in spec["metrics"]}
    rules = yaml.safe_load((ROOT / "docker/helm/prometheus-adapter-values.yaml").read_text(encoding="utf-8"))["rules"]
    assert (
        asked == {rule["name"]["as"] for rule in rules["custom"]} == {"shrota_queue_seconds", "shrota_backlog_seconds"}
    )
    for rule in rules["custom"]:
        assert rule["resources"]["overrides"] == {"namespace": {"resource": "namespace"}, "pod": {"resource": "pod"}}
        series = re.match(r"\w+", rule["seriesQuery"])
        assert series is not None
        assert series[0] in rule["metricsQuery"]


@pytest.mark.parametrize(
    ("values", "text"),
    [
        ({"model": {"from": "claim"}}, "name it with model.claim"),
        ({"model": {"from": "url"}}, "give model.url"),
        ({"engines": "acoustic_trt"}, "a plan runs on a GPU only"),
        ({"model": {"from": "image"}, "sharedMemory": "4Gi"}, "set model.settings to nothing"),
        ({"model": {"from": "claim", "claim": "models", "settings": ""}}, "set sharedMemory for that repository's own"),
        ({"tls": {"proxyMutual": True, "proxySecret": "a"}}, "tls.proxyMutual needs tls.proxy"),
        ({"tls": {"grpcMutual": True}}, "tls.grpcMutual needs tls.grpcSecret"),
        ({"tls": {"proxy": True}}, "tls.proxy needs tls.proxySecret"),
        ({"tls": {"proxy": True, "proxySecret": "a", "grpcSecret": "b"}}, "set it, or tls.grpcSecret"),
        ({"modle": {}}, "modle"),
        ({"model": {"precision": "fp8"}}, "precision"),
        ({"gpus": "one"}, "gpus"),
    ],
)
def test_values_that_cannot_be_right_are_said(values: Document, text: str) -> None:
    with pytest.raises(helm().HelmError, match=re.escape(text)):
        render(values)


def test_the_schema_knows_every_value() -> None:
    def known(part: Document, path: str = "") -> set[str]:
        if not part.get("properties"):
            return {path}
        return {one for key, inner in part["properties"].items() for one in known(inner, f"{path}.{key}".strip("."))}

    found = known(schema()) - {"global"}
    free = {path for path in found if any(leaf.startswith(f"{path}.") for leaf in leaves(values_of()))}
    assert free == {"resources", "metrics.dashboardLabels"}
    inside = tuple(f"{path}." for path in free)
    assert {leaf for leaf in leaves(values_of()) if not leaf.startswith(inside)} == found - free
