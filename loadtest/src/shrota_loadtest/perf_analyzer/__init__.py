"""NVIDIA's perf_analyzer: found, given real speech, run for one load, and its results read.

Its defaults and its way through the input data are those of its source,
https://github.com/triton-inference-server/perf_analyzer.
"""
