"""What goes wrong in a load test before or after the load: each is one line that says what to do."""

from shrota_client.errors import ShrotaError


class LoadTestError(ShrotaError):
    """A load test that cannot be begun or whose results cannot be read."""


class WorkloadError(LoadTestError, ValueError):
    """Speech or a setting from which no workload can be made."""


class PerfAnalyzerError(LoadTestError):
    """NVIDIA's perf_analyzer is missing, too old, or failed."""


class SweepError(LoadTestError, ValueError):
    """A sweep that cannot be made as it was asked for."""
