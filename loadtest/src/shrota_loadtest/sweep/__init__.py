"""``shrota sweep``: many loads by perf_analyzer, over load and over configuration, and the page of them."""
