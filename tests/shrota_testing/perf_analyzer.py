"""A program in the place of perf_analyzer, for machines without it, and where the real one is."""

import os
import shutil
import sys
from pathlib import Path

import pytest

from shrota_loadtest.perf_analyzer.program import NEEDED

REAL = os.environ.get("PERF_ANALYZER") or shutil.which("perf_analyzer")
needs_perf_analyzer = pytest.mark.skipif(REAL is None, reason="no perf_analyzer on the PATH or in PERF_ANALYZER")

SENDS = """
import base64, json, sys, time
import numpy as np
from tritonclient import grpc

words = sys.argv[1:]
if not words:
    sys.exit("Usage: perf_analyzer [options] " + " ".join({options!r}))
if words == ["--version"]:
    sys.exit("Perf Analyzer Version 9.8.7 (commit abc)")
value = dict(zip(words, words[1:]))
rows = int(value.get("-b", 1))
entries = json.load(open(value["--input-data"], encoding="utf-8"))["data"]
kinds = {{"AUDIO": np.float32, "NUM_SAMPLES": np.int32}}
starts = range(0, len(entries) * rows, rows)
with grpc.InferenceServerClient(value["-u"]) as client:
    batches = client.get_model_config(value["-m"], as_json=True)["config"].get("max_batch_size", 0)
    started = time.monotonic()
    for start in starts:
        inputs = []
        for name in entries[0]:
            chosen = [entries[(start + row) % len(entries)][name] for row in range(rows)]
            arrays = [
                np.frombuffer(base64.b64decode(each["content"]["b64"]), kinds[name]).reshape(each["shape"])
                for each in chosen
            ]
            array = np.stack(arrays) if batches else arrays[0]
            made = grpc.InferInput(name, array.shape, "FP32" if name == "AUDIO" else "INT32")
            inputs.append(made.set_data_from_numpy(array))
        client.infer(value["-m"], inputs)
seconds = time.monotonic() - started
percentiles = ",".join(["1500"] * 4)
with open(words[-1], "w", encoding="utf-8") as report:
    report.write("Concurrency,Inferences/Second,Client Send,Network+Server Send/Recv,Server Queue,")
    report.write("Server Compute Input,Server Compute Infer,Server Compute Output,Client Recv,")
    report.write("p50 latency,p90 latency,p95 latency,p99 latency\\n")
    report.write("1,%f,20,300,40,50,600,70,8,%s\\n" % (len(entries) * rows / seconds, percentiles))
for number in (1, 2, 3):
    print("  Pass [%d] throughput: 10 infer/sec. Avg latency: 1500 usec (std 1 usec)." % number)
print("  Client:\\n    Request count: %d" % len(entries))
"""
"""Sends every entry once, rows as perf_analyzer takes them, and writes a report with made-up latencies."""


def write_sending_program(folder: Path) -> str:
    """A program that really sends its input data, over gRPC, one request at a time."""
    program = folder / "perf_analyzer"
    program.write_text(f"#!{sys.executable}\n{SENDS.format(options=NEEDED)}", encoding="utf-8")
    program.chmod(0o755)
    return str(program)


def write_script(folder: Path, text: str) -> str:
    """A shell script in its place."""
    program = folder / "perf_analyzer"
    program.write_text(f"#!/bin/sh\n{text}\n", encoding="utf-8")
    program.chmod(0o755)
    return str(program)
