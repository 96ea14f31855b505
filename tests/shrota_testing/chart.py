"""The Helm chart, rendered by Helm's own Go code (the package helm-python-sdk), and what is looked for in it."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml

from shrota_testing import tools
from shrota_testing.repository import ROOT

CHART = ROOT / "docker/helm/shrota"
Document = dict[str, Any]


def helm() -> Any:
    """Helm; without it the test is skipped, or fails."""
    return tools.package("helm_python")


def values_of(path: Path = CHART / "values.yaml") -> Document:
    """A file of values."""
    found: Document = yaml.safe_load(path.read_text(encoding="utf-8"))
    return found


def render(values: Document | None = None, name: str = "demo") -> list[Document]:
    """What would be installed, in the order of the templates' names.

    Raises:
        HelmError: the values cannot be right.
    """
    with helm().Chart.load(CHART) as chart:
        texts = chart.render(values, name=name, namespace="speech")
    documents: list[Document] = []
    for path in sorted(texts):
        if path.endswith(".yaml"):
            documents += [document for document in yaml.safe_load_all(texts[path]) if document]
    return documents


def find(documents: list[Document], kind: str, name: str | None = None) -> Document:
    """The one document of a kind."""
    (found,) = [each for each in documents if each["kind"] == kind and name in {None, each["metadata"]["name"]}]
    return found


def pod(documents: list[Document]) -> Document:
    """The deployment's pod."""
    template: Document = find(documents, "Deployment")["spec"]["template"]
    return template


def containers(documents: list[Document]) -> dict[str, Document]:
    """All containers of the pod by name, the first to start first."""
    spec = pod(documents)["spec"]
    return {each["name"]: each for each in [*spec.get("initContainers", []), *spec["containers"]]}


def environment(container: Document) -> dict[str, str]:
    """What a container's environment says."""
    return {each["name"]: each["value"] for each in container["env"]}


def leaves(value: object, path: str = "") -> Iterator[str]:
    """Paths of all values that are no mappings with something in them."""
    if isinstance(value, dict) and value:
        for key, inner in value.items():
            yield from leaves(inner, f"{path}.{key}".strip("."))
    else:
        yield path


def schema() -> Document:
    """The chart's schema of values."""
    found: Document = json.loads((CHART / "values.schema.json").read_text(encoding="utf-8"))
    return found
