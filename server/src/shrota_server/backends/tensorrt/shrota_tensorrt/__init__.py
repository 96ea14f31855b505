"""Runs TensorRT plans for Triton's Python backend, and for the export's comparison."""
