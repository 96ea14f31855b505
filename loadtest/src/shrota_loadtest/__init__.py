"""How much speech one Shrota server carries: Locust users, perf_analyzer sweeps, and the pages of both."""
