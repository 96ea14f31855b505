"""Triton's metrics endpoint, read into a dictionary."""

import urllib.request


def read_metrics(metrics_url: str, label: str = "") -> dict[str, float]:
    """Sums of every metric over its labels, by metric name.

    Args:
        metrics_url: Host and port of the metrics endpoint, without scheme.
        label: Only series with this label, as the page writes it: ``reason="cancelled"``.
    """
    with urllib.request.urlopen(f"http://{metrics_url}/metrics", timeout=10) as answer:
        lines = answer.read().decode("utf-8").splitlines()
    totals: dict[str, float] = {}
    for line in lines:
        if line and not line.startswith("#") and label in line:
            name = line.partition("{")[0].split()[0]
            totals[name] = totals.get(name, 0.0) + float(line.split()[-1])
    return totals


def differences(before: dict[str, float], after: dict[str, float]) -> dict[str, float]:
    """What each counter grew by."""
    return {name: value - before.get(name, 0.0) for name, value in after.items()}
