"""The command line of tritonserver."""

from collections.abc import Sequence
from pathlib import Path

from shrota_server.installation import Installation
from shrota_server.instance import Instance
from shrota_server.ports import Hosts, Ports

# Triton waits so long for requests in flight when it is told to stop
EXIT_TIMEOUT_S = 4


def triton_command(
    installation: Installation,
    instance: Instance,
    *,
    repository: Path,
    models: Sequence[str],
    hosts: Hosts,
    ports: Ports,
    options: Sequence[str] = (),
) -> list[str]:
    """What runs ``models``, each loaded by its name, with further ``options`` of Triton's."""
    command = [str(installation.executable), "--model-repository", str(repository.resolve())]
    if installation.backend_directory is not None:
        command += ["--backend-directory", str(installation.backend_directory)]
    # Triton would start a process more for every Python model, only to ask what its configuration lacks: ours lack
    # nothing, and a model that was killed is back the sooner
    command += ["--model-control-mode", "explicit", "--disable-auto-complete-config"]
    for model in models:
        command += ["--load-model", model]
    for service, host in vars(hosts).items():
        command += [f"--{service}-port", str(getattr(ports, service)), f"--{service}-address", host]
    command += ["--backend-config", f"python,shm-region-prefix-name={instance.region_prefix}"]
    command += ["--exit-timeout-secs", str(EXIT_TIMEOUT_S)]
    # Triton keeps the buffers of so many finished requests (8 by default): a long file would stay in memory 8 times
    command += ["--grpc-infer-allocation-pool-size", "0"]
    # quantiles of the last minute's latencies beside the sums: the alerts need them
    command += ["--metrics-config", "summary_latencies=true"]
    return [*command, *installation.options, *options]
